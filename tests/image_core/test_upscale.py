"""A batch of images end to end, on a tiny random embedded model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from image_core.device.memory import Workload
from image_core.errors import OutOfMemoryError
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from tests.support.tiny_lite import sample_images, upscaler


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 21), (30, 18)])
@pytest.mark.parametrize("scale", [1, 2.5, 4])
def test_the_output_is_exactly_scale_times_the_input(generator, size, scale):
    (result,) = upscaler(generator, scale=scale)(sample_images(1, *size))
    assert result.shape == (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)), 3)
    assert result.dtype == np.uint8


def test_order_is_kept_and_batches_do_not_matter(generator):
    images = sample_images(5, 16, 24)
    together = upscaler(generator, batch=3)(images)
    alone = upscaler(generator, batch=1)
    for result, image in zip(together, images, strict=True):
        assert np.abs(result.astype(int) - alone([image])[0].astype(int)).max() <= 1
    assert upscaler(generator)([]) == []


def test_depth_is_kept(generator):
    (result,) = upscaler(generator)(sample_images(1, 16, 16, np.uint16))
    assert result.dtype == np.uint16 and len(np.unique(result)) > 256


def test_tiles_change_next_to_nothing(generator):
    images = sample_images(1, 72, 96)
    whole, tiled = (upscaler(generator, tile_px=tile, tile_overlap_px=64)(images)[0] for tile in (None, 256))
    # the attention in the middle and the norms see the whole plane, the rest does not
    assert np.abs(whole.astype(int) - tiled.astype(int)).mean() < 1


@pytest.mark.parametrize("fix", ["adain", "wavelet"])
def test_colour_fix_takes_the_inputs_colours(generator, fix):
    flat = np.full((16, 16, 3), (200, 60, 40), np.uint8)
    (result,) = upscaler(generator, color_fix=fix)([flat])
    assert np.abs(result.mean((0, 1)) - flat[0, 0]).max() < 2


class Greedy:
    """A generator that has memory for so many pixels only."""

    def __init__(self, generator, room_px, error=None):
        self.generator, self.room_px = generator, room_px
        self.error = error or torch.OutOfMemoryError("no room")
        self.autoencoder, self.unet = generator.autoencoder, generator.unet

    def parameters(self):
        return self.generator.parameters()

    def encode(self, image):
        if image.shape[0] * image.shape[2] * image.shape[3] > self.room_px:
            raise self.error
        return self.generator.encode(image)

    def denoise(self, latent, text):
        return self.generator.denoise(latent, text)

    def decode(self, latent, image):
        return self.generator.decode(latent, image)


def test_out_of_memory_goes_on_with_less_and_loses_no_image(generator):
    output = []
    small = Upscaler(
        Greedy(generator, 300 * 300),
        torch.zeros(1, 1, 8),
        UpscaleOptions(batch=4),
        bytes_per_pixel=1,
        report=output.append,
    )
    results = small(sample_images(5, 100, 120))
    assert len(results) == 5 and all(result.shape == (400, 480, 3) for result in results)
    workload = small.workload_for(400, 480)
    assert workload.batch == 1 and workload.tile_px and len(output) == 3


def test_too_little_memory_for_anything_is_an_error(generator):
    nothing = Upscaler(Greedy(generator, 0), torch.zeros(1, 1, 8), UpscaleOptions(), bytes_per_pixel=1)
    with pytest.raises(OutOfMemoryError, match="does not fit"):
        nothing(sample_images(1, 100, 100))


def test_the_ladder_halves_the_batch_before_it_tiles():
    steps, load = [], Workload(4, None)
    while load.tile_px is None:
        load = load.lighter(1080, 1920)
        steps.append((load.batch, load.tile_px))
    assert steps == [(2, None), (1, None), (1, 960)]


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.5}, {"scale": 9}, {"batch": 0}, {"tile_px": 100}, {"tile_overlap_px": 7}, {"color_fix": "x"}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UpscaleOptions(**wrong)


def test_half_precision_keeps_the_last_layer_in_float32(generator):
    import copy

    from image_core.generator import set_precision

    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    text = torch.zeros(1, 1, 8)
    exact = generator.denoise(generator.encode(image), text)

    def error(model):
        latent = exact.bfloat16() * generator.alpha_bar**0.5  # the same input for both
        return (model.denoise(latent, text.bfloat16()) - generator.denoise(latent.float(), text)).square().mean().sqrt()

    whole = copy.deepcopy(generator).bfloat16()
    remaining = set_precision(copy.deepcopy(generator), torch.bfloat16)
    assert remaining.unet.conv_out.layer.weight.dtype == torch.float32
    assert error(remaining) < error(whole)


def test_modules_that_import_nothing_heavy():
    for name in ("options", "errors"):
        source = (Path(__file__).parent.parent.parent / "image_core" / f"{name}.py").read_text()
        assert "import torch" not in source and "import numpy" not in source
