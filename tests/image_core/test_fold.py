"""What is folded into a UNet when it is loaded changes no more than the order of sums, and is computed once."""

import copy
import threading

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from image_core.generator import Generator, set_precision
from image_core.models.choice import choose_model
from image_core.models.fold import FoldedAttention, PackedLinear, fold, fold_attention, fold_timestep, pack_linear
from image_core.models.load import AUTOENCODER_DTYPES, DTYPES, load_generator, load_upscaler
from image_core.options import UpscaleOptions
from tests.support.media_files import sample_image

ROUNDING = 2e-6
"""Relative, of float32 sums in another order."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unet(tiny_bundle):
    return load_generator(tiny_bundle).unet


def of(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predicted(unet, text, count=2):
    with torch.inference_mode():
        return unet(of(0, count, 4, 16, 24), 999, text).sample


def apart(result, expected):
    return float((result - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "change", [lambda u: fold_timestep(u, 999), fold_attention, pack_linear], ids=["timestep", "attention", "packed"]
)
def test_each_folding_alone_gives_the_same_noise(unet, change):
    folded, text = copy.deepcopy(unet), of(1, 1, 77, 32)
    change(folded)
    for count, texts in ((1, text), (2, text.expand(2, -1, -1)), (2, of(2, 2, 77, 32))):
        assert apart(predicted(folded, texts, count), predicted(unet, texts, count)) < ROUNDING


def test_keys_and_values_that_were_kept_are_the_same_bits(unet):
    """The product of queries, keys and values is cut out again: no sum has another order, so bits are the same too."""
    folded, text = copy.deepcopy(unet), of(1, 1, 77, 32)
    fold_attention(folded)
    first = predicted(folded, text, 1)
    assert torch.equal(predicted(folded, text.clone(), 1), first) and torch.equal(predicted(unet, text, 1), first)


def test_a_text_is_looked_at_once_while_it_stays(unet):
    folded, looked = copy.deepcopy(unet), []
    fold_attention(folded)
    blocks = [m for m in folded.modules() if isinstance(getattr(m, "processor", None), FoldedAttention)]
    for attention in blocks:
        if attention.is_cross_attention:
            attention.to_k.register_forward_hook(lambda _m, given, _out: looked.append(len(given[0])))
    crossing = sum(attention.is_cross_attention for attention in blocks)
    a, b = of(1, 1, 77, 32), of(2, 1, 77, 32)
    for text in (a, a.clone(), a.expand(2, -1, -1)):  # of one image, and of two with the same text
        predicted(folded, text, len(text))
    assert looked == [1] * crossing
    a += 1  # in place: another text under the same name
    assert apart(predicted(folded, a, 1), predicted(unet, a, 1)) < ROUNDING
    assert apart(predicted(folded, b, 1), predicted(unet, b, 1)) < ROUNDING and looked == [1] * (3 * crossing)


def test_threads_that_read_other_texts_do_not_disturb_each_other(unet):
    folded, texts = copy.deepcopy(unet), [of(n, 1, 77, 32) for n in range(3)]
    fold_attention(folded)
    expected, results = [predicted(unet, text, 1) for text in texts], {}

    def work(n):
        results[n] = [predicted(folded, texts[n], 1) for _ in range(8)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(apart(result, expected[n]) < ROUNDING for n, each in results.items() for result in each)
    assert len(results) == 3


def test_the_timestep_is_gone(unet):
    folded, text = copy.deepcopy(unet), of(1, 1, 77, 32)
    fold_timestep(folded, 999)
    with torch.inference_mode():
        assert torch.equal(folded(of(0, 1, 4, 16, 24), 5, text).sample, predicted_one(folded, text))
    assert not [name for name, _ in folded.named_parameters() if "time_emb" in name]


def predicted_one(unet, text):
    return unet(of(0, 1, 4, 16, 24), 999, text).sample


def test_blocks_that_a_timestep_scales_keep_it():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, norm_num_groups=8,
        attention_head_dim=8, cross_attention_dim=32, resnet_time_scale_shift="scale_shift", only_cross_attention=True,
    ).eval().requires_grad_(False)  # fmt: skip
    folded, text = fold(Generator(nn.Identity(), copy.deepcopy(unet), 0.005)).unet, of(1, 1, 77, 32)
    assert apart(predicted(folded, text, 1), predicted(unet, text, 1)) < ROUNDING


def test_half_precision_is_folded_within_its_own_rounding(unet):
    text = of(1, 1, 77, 32)
    plain, folded = (
        set_precision(Generator(nn.Identity(), copy.deepcopy(unet), 0.005), torch.bfloat16) for _ in range(2)
    )
    exact, results = predicted(unet, text, 1), []
    for generator in (plain, fold(folded)):
        with torch.inference_mode():
            results.append(generator.predict_noise(of(0, 1, 4, 16, 24), text))
    assert not any(isinstance(layer, PackedLinear) for layer in folded.unet.modules())
    assert apart(results[1], exact) < 1.5 * apart(results[0], exact)


@pytest.mark.parametrize("options", [{"lora_scale": 0.5}, {"guidance": 3.0}], ids=str)
def test_a_loaded_model_gives_the_images_of_the_plain_one(tiny_bundle, options):
    image = sample_image(3, 24, 20)
    upscaler = load_upscaler(tiny_bundle, UpscaleOptions(scale=4, **options), device=CPU, dtype=torch.float32)
    assert any(isinstance(layer, PackedLinear) for layer in upscaler.generator.unet.modules())
    folded = upscaler([image])[0].astype(int)
    upscaler.generator = load_generator(tiny_bundle, lora_scale=options.get("lora_scale", 1.0))
    assert abs(folded - upscaler([image])[0]).max() <= 1


def test_mixed_precision_halves_the_autoencoder_alone(tiny_bundle):
    choice = choose_model(str(tiny_bundle.path), "cpu", "mixed")
    assert "in float32 (its autoencoder in bfloat16)." in f"{choice}."
    dtypes = {"dtype": DTYPES[choice.precision], "autoencoder_dtype": AUTOENCODER_DTYPES[choice.precision]}
    mixed = load_upscaler(tiny_bundle, UpscaleOptions(), device=CPU, **dtypes)
    kinds = [{p.dtype for p in part.parameters()} for part in (mixed.generator.unet, mixed.generator.autoencoder)]
    assert kinds == [{torch.float32}, {torch.bfloat16}]
    exact = load_upscaler(tiny_bundle, UpscaleOptions(), device=CPU, dtype=torch.float32)
    assert mixed.identity == f"{exact.identity} bfloat16"  # a job of one does not go on with the other
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        latent = exact.generator.encode(image)
        results = [model.generator.decode(latent, image).float() for model in (exact, mixed)]
        latents = [model.generator.encode_clean(image) for model in (exact, mixed)]
    for exact_one, mixed_one in (results, latents):
        assert 0 < (mixed_one - exact_one).norm() < 0.03 * exact_one.norm()
