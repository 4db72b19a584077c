"""A result that is no number is never an image: made again with more precision, else an error that names it."""

import copy

import numpy as np
import pytest
import torch

from image_core.autoencoder import clamped
from image_core.device.choice import choose_precision, processor_features
from image_core.device.precision import in_float32
from image_core.errors import NotFiniteError
from image_core.generator import set_precision
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from tests.support.tiny_lite import sample_images


def half(generator, messages=None, **options):
    model = set_precision(copy.deepcopy(generator), torch.float16)
    report = (lambda _: None) if messages is None else messages.append
    embedding = torch.zeros(1, 1, 8, dtype=torch.float16)
    return Upscaler(model, embedding, UpscaleOptions(**options), bytes_per_pixel=600, report=report)


def blow_up(module, factor):
    """Make a layer's results so much larger, its weights within what float16 holds."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor).clamp_(-6e4, 6e4)


@pytest.fixture
def overflowing(generator):
    """Its decoder's second last numbers are beyond 65504; in float32 all is well."""
    model = copy.deepcopy(generator)
    blow_up(model.autoencoder.from_latent, 1e6)
    blow_up(model.autoencoder.from_image, 1e6)
    blow_up(model.autoencoder.to_patch, 1e-4)
    return model


@pytest.mark.parametrize("options", [{}, {"color_fix": "adain"}, {"color_fix": "wavelet"}, {"keep_tones": True},
                                     {"tile_px": 256, "color_fix": "adain"}], ids=str)  # fmt: skip
def test_what_runs_over_in_half_precision_is_made_again_and_said_once(overflowing, options):
    messages = []
    model = half(overflowing, messages, **options)
    image = sample_images(1, 80, 72)[0]
    results = [model([image])[0] for _ in range(2)]
    exact = Upscaler(copy.deepcopy(model.generator).float(), torch.zeros(1, 1, 8), model.options, bytes_per_pixel=600)(
        [image]
    )[0]
    assert messages == ["half precision overflowed: such images are computed again with the autoencoder in float32"]
    assert np.array_equal(*results) and results[0].std() > 1
    assert np.abs(results[0].astype(int) - exact).mean() < 2
    assert next(model.generator.autoencoder.parameters()).dtype == torch.float16  # for that batch only


def test_the_unet_follows_when_that_is_not_enough(generator):
    wide, messages = copy.deepcopy(generator), []
    blow_up(wide.unet.conv_in, 1e6)
    model = half(wide, messages)
    assert model(sample_images(1, 16, 16))[0].std() > 1
    assert ["autoencoder" in messages[0], "UNet" in messages[1], len(messages)] == [True, True, 2]
    assert model.generator.unet.conv_out.layer.weight.dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"color_fix": "adain"}, {"tile_px": 256, "color_fix": "adain"}], ids=str)
def test_what_no_precision_mends_is_an_error_that_names_the_image(generator, options):
    broken = copy.deepcopy(generator)

    def spoil(_module, _inputs, output):
        output[-1, 0, 0, 0] = float("nan")

    broken.autoencoder.to_patch.register_forward_hook(spoil)
    model = Upscaler(broken, torch.zeros(1, 1, 8), UpscaleOptions(batch=2, **options), bytes_per_pixel=600)
    with pytest.raises(NotFiniteError, match=r"image 2: the model's result is not a finite number") as caught:
        model(sample_images(4, 80, 72))
    assert caught.value.index == 1


def test_a_video_names_the_frame_and_its_time(generator):
    from fractions import Fraction

    from osediff_video import upscale_frames

    broken = copy.deepcopy(generator)

    def spoil(_module, inputs, output):  # by what the frame shows: workers take frames in any order, and try again
        return output * float("inf") if inputs[0].mean() > 0 else output

    broken.autoencoder.projection.register_forward_hook(spoil)
    model = Upscaler(broken, torch.zeros(1, 1, 8), UpscaleOptions(), bytes_per_pixel=600)
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    with pytest.raises(NotFiniteError, match=r"frame 3, at 0\.080 s: the model's result"):
        list(upscale_frames([black, black, white, black, black], model=model, fps=Fraction(25)))


def test_infinity_is_no_white():
    given = torch.tensor([-2.0, 0.25, 2.0, float("inf"), float("-inf"), float("nan")])
    result = clamped(given.view(1, 1, 2, 3)).flatten()
    assert torch.equal(result[:3], torch.tensor([-1, 0.25, 1.0])) and result[3:].isnan().all()


def test_weights_come_back_from_float32_bit_for_bit(generator):
    model = set_precision(copy.deepcopy(generator), torch.bfloat16)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError), in_float32(model):
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        raise KeyError
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_an_image_file_is_named(generator, tmp_path):
    from PIL import Image

    from osediff_video import upscale_image

    Image.fromarray(sample_images(1, 16, 16)[0]).save(tmp_path / "a.png")
    broken = copy.deepcopy(generator)
    broken.autoencoder.to_patch.bias.data.fill_(float("nan"))
    model = Upscaler(broken, torch.zeros(1, 1, 8), UpscaleOptions(), bytes_per_pixel=600)
    with pytest.raises(NotFiniteError, match=r"a\.png: the model's result"):
        upscale_image(tmp_path / "a.png", tmp_path / "b.png", model=model)
    assert not (tmp_path / "b.png").exists()


def test_the_choice_of_a_precision_agrees_with_torch():
    features = {name for name, has in torch.cpu.get_capabilities().items() if has is True}
    for ours, torchs in (("avx2", "avx2"), ("avx512f", "avx512_f"), ("avx512_bf16", "avx512_bf16")):
        assert (ours in processor_features()) == (torchs in features)
    expected = "bf16" if "avx512_bf16" in features else "fp32"
    assert choose_precision("auto", "cpu", 0.6) == expected
    assert choose_precision("auto", "cpu", 0.01) == choose_precision("auto", "mps", 0.6) == "fp32"


@pytest.mark.parametrize(("maker", "capability", "auto"), [
    ("13.0", (9, 0), "fp16"), ("12.6", (7, 0), "fp16"), ("12.6", (6, 1), "fp32"), (None, (6, 1), "fp16"),
])  # fmt: skip
def test_half_precision_is_for_cards_that_are_quick_at_it(monkeypatch, maker, capability, auto):
    monkeypatch.setattr(torch.version, "cuda", maker)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision("auto", "cuda:0", 0.01) == auto and choose_precision("bf16", "cuda:0", 0.01) == "bf16"
