"""What a user asks for, and what a bundle advises, reaches the network: each against the parts called directly."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from image_core.bundle import read_bundle, write_config
from image_core.color import ColorStats
from image_core.device.memory import Workload
from image_core.device.workers import Crew, Workers
from image_core.errors import CheckpointError, NotFiniteError
from image_core.generator import KLAutoencoder, predict_clean
from image_core.models import load
from image_core.models.downloads import OSEDIFF
from image_core.models.load import BYTES_PER_PIXEL, load_upscaler
from image_core.network_pass import NetworkPass
from image_core.options import Draws, UpscaleOptions
from image_core.prompts.embedding import Prompts
from image_core.upscaler import Upscaler
from tests.support.tiny_lite import sample_images, upscaler

CPU = torch.device("cpu")


def loaded(bundle, dtype=torch.float32, **options):
    return load_upscaler(bundle, UpscaleOptions(**options), device=CPU, dtype=dtype)


@pytest.fixture(scope="module")
def plain(tiny_bundle):
    return loaded(tiny_bundle)


@pytest.fixture
def half(tiny_bundle, built):
    assert not built  # the generator is that in float32: only what is said of the precision is looked at
    return loaded(tiny_bundle, torch.bfloat16)


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_defaults_are_those_that_the_pages_name():
    assert dataclasses.asdict(UpscaleOptions()) == {
        "scale": 4.0, "prompt": None, "color_fix": "auto", "negative_prompt": None, "guidance": 1.0, "strength": 1.0,
        "adaptive": False, "lora_scale": 1.0, "keep_tones": False, "batch": None, "tile_px": None,
        "tile_overlap_px": 64, "compile": False, "fast": False, "tiny_decoder": None,
        "prompt_mode": "auto",
    }  # fmt: skip
    assert dataclasses.asdict(Draws()) == {"count": 8, "seed": 0}


def test_a_tile_is_at_least_twice_its_overlap():
    UpscaleOptions(tile_px=128, tile_overlap_px=64)
    with pytest.raises(ValueError, match="at least twice the overlap"):
        UpscaleOptions(tile_px=120, tile_overlap_px=64)


def test_the_advice_of_a_bundle_holds_unless_told_otherwise(plain, generator):
    assert plain.color_fix == plain.advised_fix == "adain"
    for asked, expected in (("auto", "adain"), ("none", "none"), ("wavelet", "wavelet")):
        options = UpscaleOptions(color_fix=asked)
        model = Upscaler(generator, torch.zeros(1, 1, 8), options, bytes_per_pixel=600, color_fix="adain")
        assert model.color_fix == expected


@pytest.fixture
def built(plain, monkeypatch):
    """What is asked of whoever builds a generator; all get the one that is there."""
    asked = []

    def build(_bundle, _device, _dtype, lora_scale=1.0, _autoencoder_dtype=None):
        asked.append(lora_scale)
        return plain.generator

    monkeypatch.setattr(load, "build_generator", build)
    monkeypatch.setattr("image_core.models.fold.fold", lambda generator: generator)  # it is folded already
    return asked


def test_lora_scale_arrives(tiny_bundle, built):
    loaded(tiny_bundle, lora_scale=0.3)
    assert built == [0.3]


@pytest.mark.usefixtures("built")
def test_the_prompt_arrives(tiny_bundle):
    assert torch.equal(loaded(tiny_bundle, prompt="a cat").embedding, Prompts(tiny_bundle)("a cat"))


@pytest.mark.usefixtures("built")
def test_guidance_and_its_negative_prompt_arrive(tiny_bundle):
    model = loaded(tiny_bundle, prompt="a cat", guidance=3.0, negative_prompt="sharp")
    text, negative = (Prompts(tiny_bundle)(words) for words in ("a cat", "sharp"))
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.generator.denoise_guided(latent, text, negative, 3.0)
        assert torch.equal(model.network().denoised(latent, model.embedding), expected)


def test_steered_options_are_used(generator):
    """As shots.toml does it: the same weights under other options."""
    model, image = upscaler(generator), sample_images(1, 16, 24)
    for change in ({"color_fix": "adain"}, {"strength": 0.5}, {"keep_tones": True}):
        other = model.steered(UpscaleOptions(**change))
        assert same(other(image), upscaler(generator, **change)(image)) and not same(other(image), model(image))


def test_a_prompter_chooses_the_embedding_of_each_image(generator):
    seen = []

    def prompter(image):
        seen.append(tuple(image.shape))
        return torch.ones(len(image), 1, 8)

    words, image = {"bytes_per_pixel": 600}, sample_images(1, 16, 24)
    asked = Upscaler(generator, torch.zeros(1, 1, 8), UpscaleOptions(), prompter=prompter, **words)
    assert same(asked(image), Upscaler(generator, torch.ones(1, 1, 8), UpscaleOptions(), **words)(image))
    assert seen == [(1, 3, 64, 96)] and not same(asked(image), upscaler(generator)(image))


def test_the_overlap_of_tiles_arrives(generator):
    places = {}
    for overlap in (16, 64):
        widths, options = [], UpscaleOptions(tile_px=128, tile_overlap_px=overlap)
        run = NetworkPass(generator, options).tiled
        run(lambda x, widths=widths: widths.append(x.shape[-1]) or x, [(torch.zeros(1, 3, 8, 512), 8)], 8)
        places[overlap] = len(widths)
    assert places == {16: 5, 64: 7}  # 512 px in steps of 112 and of 64


def test_embeddings_of_another_text_encoder_are_not_taken(tiny_bundle, tmp_path):
    first = Prompts(tiny_bundle)("a harp of another kind")
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle.path, other)
    weights = load_file(other / "text_encoder" / "model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in weights.items()}, other / "text_encoder" / "model.safetensors")
    write_config(other, tiny_bundle.config)
    assert not torch.equal(Prompts(read_bundle(other))("a harp of another kind"), first)


def test_float32_on_a_gpu_is_float32(tiny_bundle, monkeypatch):
    """Not the ten bits of TF32, which convolutions have there unless told."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.backends.cuda.matmul.allow_tf32 = True  # loading restores the default
    monkeypatch.setattr("image_core.models.load._read_upscaler", lambda *_: "loaded")
    load_upscaler(tiny_bundle, UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    assert torch.backends.cudnn.allow_tf32
    load_upscaler(tiny_bundle, UpscaleOptions(), device=torch.device("cuda"), dtype=torch.float16)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.usefixtures("built")
def test_an_identity_tells_models_and_precisions_apart(plain, half, tiny_bundle, tmp_path):
    """A job that is resumed compares it."""
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle.path, other)
    write_config(other, dataclasses.replace(tiny_bundle.config, alpha_bar=tiny_bundle.config.alpha_bar * 1.01))
    assert len({plain.identity, half.identity, loaded(read_bundle(other)).identity}) == 3


def test_the_memory_of_a_pixel_follows_the_precision(plain, half):
    assert plain.planner.bytes_per_pixel == BYTES_PER_PIXEL["kl"] == 2 * half.planner.bytes_per_pixel


def test_an_autoencoder_scales_latents_one_way_and_back(plain, tiny_bundle):
    autoencoder = plain.generator.autoencoder
    assert isinstance(autoencoder, KLAutoencoder) and autoencoder.latent_scale == tiny_bundle.config.latent_scale
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        plain = autoencoder.vae.encode(image).latent_dist.mode()
        latent = autoencoder.encode(image)
        assert torch.allclose(latent, plain * autoencoder.latent_scale)
        expected = autoencoder.vae.decode(plain).sample.clamp(-1, 1)
        assert torch.allclose(autoencoder.decode(latent, image), expected, atol=1e-5)


def test_one_step_takes_away_all_of_the_noise():
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for alpha_bar in (0.0047, 0.5):
        noisy = alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * noise
        assert torch.allclose(predict_clean(noisy, noise, alpha_bar), clean, atol=1e-4)


def test_a_job_s_workload_is_used_again(generator):
    model = upscaler(generator)
    model.use_workload(400, 480, Workload(1, 256))
    assert model.workload_for(400, 480) == Workload(1, 256) and model.workload_for(96, 96).tile_px is None


def test_tones_of_a_video_reach_the_colour_fix(generator):
    """A shift of a tenth of white is 25.5 levels of 255."""
    model, image = upscaler(generator, color_fix="adain"), [np.full((16, 24, 3), 90, np.uint8)]
    image[0][4:12] = 120
    plain, moved = (
        model.drafts(image, tones=[ColorStats((shift,) * 3, (1.0,) * 3)])[0].image.mean() for shift in (0.0, 0.1)
    )
    assert moved - plain == pytest.approx(25.5, abs=0.5)


def test_an_image_of_a_later_batch_is_named_by_its_place_among_all(generator):
    broken = copy.deepcopy(generator)
    broken.autoencoder.projection.register_forward_hook(
        lambda _module, inputs, output: output * float("inf") if inputs[0].mean() > 0 else output
    )
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    with pytest.raises(NotFiniteError) as caught:
        upscaler(broken, batch=1)([black, black, black, white, black])
    assert caught.value.index == 3


def test_a_model_is_verified_before_it_runs(tiny_bundle, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle.path, other)
    data = bytearray((other / "unet.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "unet.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"unet\.safetensors: altered"):
        loaded(read_bundle(other))


def test_every_worker_computes_in_as_many_threads_as_its_crew_has():
    """From its first convolution on: a thread that is not told takes all cores, and other bits come out."""
    workers = Workers(CPU)
    with workers.engaged(Crew(2, 3)):
        asked = [workers.submit(torch.get_num_threads) for _ in range(4)]
        assert [one.result() for one in asked] == [3] * 4


def test_what_is_unpickled_has_a_hash_that_the_program_knows():
    assert all(digest for download in OSEDIFF.values() for digest in download.files.values())
