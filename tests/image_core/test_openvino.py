"""The embedded model through OpenVINO: torch's results, to a level, in any size, batch, tile, and number of threads."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from image_core.autoencoder import LiteAutoencoder, LiteAutoencoderConfig
from image_core.bundle import read_bundle, write_config
from image_core.device import tuned
from image_core.device.choice import choose_engine
from image_core.device.tuned import Tuned, read_tuned, write_tuned
from image_core.device.workers import Crew
from image_core.errors import CheckpointError, ModelNotFoundError
from image_core.generator import Generator, set_precision
from image_core.models.catalogue import find_model
from image_core.models.choice import choose_model
from image_core.models.int8_ranges import measure_ranges
from image_core.options import UpscaleOptions
from image_core.small_unet import SmallUNet, SmallUNetConfig
from image_core.upscaler import Upscaler
from osediff_video import load_upscaler
from tests.support.tiny_lite import sample_images
from tests.support.train_recipes import write_images
from train import int8

engine = pytest.importorskip("image_core.device.openvino_engine", reason="the extra openvino is not installed")
quantizer = pytest.importorskip("image_core.device.openvino_graph").quantizer

SHAPE = LiteAutoencoderConfig(latent_channels=8, encoder_width=16, encoder_blocks=1, decoder_width=16, decoder_blocks=2)
UNET = SmallUNetConfig(
    ("DownBlock2D",) * 3, ("UpBlock2D",) * 3, in_channels=8, out_channels=8, block_out_channels=(16, 32, 48),
    norm_num_groups=8, cross_attention_dim=12, attention_head_dim=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def generator():
    return whole_generator()


def whole_generator():
    torch.manual_seed(0)
    generator = Generator(LiteAutoencoder(SHAPE), SmallUNet(UNET), 0.6, 280).eval().requires_grad_(False)
    for parameter in generator.parameters():  # nothing zero, so that every layer matters
        torch.nn.init.normal_(parameter, std=0.1)
    return generator


def model(generator, dtype=torch.float32, **options):
    return Upscaler(generator, torch.randn(1, 5, 12, dtype=dtype), UpscaleOptions(**options), bytes_per_pixel=600)


@pytest.mark.parametrize("size", [(64, 64), (72, 104)])  # the second is odd on the lower levels
def test_each_part_equals_torchs(generator, size):
    other = engine.with_openvino(generator, torch.float32)
    image, text = torch.rand(2, 3, *size) * 2 - 1, torch.randn(1, 5, 12)
    with torch.inference_mode():
        latent = generator.encode(image)
        torch.testing.assert_close(other.encode(image), latent, atol=2e-5, rtol=2e-5)
        clean = generator.denoise(latent, text)
        torch.testing.assert_close(other.denoise(latent, text), clean, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(other.decode(clean, image), generator.decode(clean, image), atol=2e-5, rtol=2e-5)


HELD = """
from tests.image_core.test_openvino import test_each_part_equals_torchs, whole_generator
for size in ((64, 64), (72, 104)):
    test_each_part_equals_torchs(whole_generator(), size)
"""


@pytest.mark.slow
def test_it_runs_where_the_user_keeps_it_from_avx512():
    """On a processor that has it, OpenVINO's own normalisation would end the process."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", HELD], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [{}, {"tile_px": 128}, {"strength": 0.4, "color_fix": "wavelet"}])
def test_images_are_within_a_level_of_torchs(generator, options):
    torch.manual_seed(1)
    ours = model(engine.with_openvino(generator, torch.float32), **options)
    theirs = model(generator, **options)
    ours.embedding = theirs.embedding
    for one, other in zip(ours(sample_images(2, 40, 48)), theirs(sample_images(2, 40, 48)), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1 and one.std() > 20


def test_half_precision_is_no_further_from_float32_than_torchs(generator):
    torch.manual_seed(2)
    image, text = torch.rand(1, 3, 96, 128) * 2 - 1, torch.randn(1, 5, 12)
    with torch.inference_mode():
        exact = generator(image, text)
        ours = engine.with_openvino(generator, torch.bfloat16)(image, text)
        half = set_precision(Generator(LiteAutoencoder(SHAPE), SmallUNet(UNET), 0.6, 280).eval(), torch.float32)
        half.load_state_dict(generator.state_dict())
        theirs = set_precision(half, torch.bfloat16)(image, text)
    assert (ours - exact).abs().mean() <= 1.5 * (theirs - exact).abs().mean()


def in_8_bits(generator, *images):
    embedding = torch.ones(1, 5, 12)
    ranges = measure_ranges(generator, images, embedding)
    return engine.with_openvino(generator, torch.float32, quantizer(ranges)), ranges


def test_8_bits_are_near_and_not_the_same(generator):
    """The error is that of 256 levels: well below what the model changes, well above that of float32."""
    image, text = torch.rand(2, 3, 64, 72, generator=torch.Generator().manual_seed(3)) * 2 - 1, torch.ones(1, 5, 12)
    other, ranges = in_8_bits(generator, image[:1], image[1:])
    with torch.inference_mode():
        exact, rounded = generator(image, text), other(image, text)
        features = generator.encode(image)
    error = (rounded - exact).abs().mean() / (exact - image).abs().mean()
    assert 1e-4 < error < 0.1
    assert ranges["autoencoder.projection"] == image.abs().max()
    assert ranges["unet.conv_in"] == pytest.approx(float(features.abs().max()))


def test_ranges_decide_the_levels(generator):
    """What lies outside is cut off: a hundredth of the ranges leaves next to nothing of the image's detail."""
    image, text = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4)) * 2 - 1, torch.ones(1, 5, 12)
    near, ranges = in_8_bits(generator, image)
    narrow = {name: value / 100 for name, value in ranges.items()}
    far = engine.with_openvino(generator, torch.float32, quantizer(narrow))
    with torch.inference_mode():
        exact = generator(image, text)
        assert (far(image, text) - exact).abs().mean() > 5 * (near(image, text) - exact).abs().mean()


def test_a_model_is_made_ready_for_8_bits_by_one_command(tmp_path, capsys):
    """And says what is wrong with the ranges that it finds, before it runs."""
    shutil.copytree(find_model("lite").path, tmp_path / "model", ignore=shutil.ignore_patterns("int8.json"))
    write_config(tmp_path / "model", find_model("lite").config)
    with pytest.raises(ModelNotFoundError, match=r"holds no int8\.json; make it with python -m train\.int8"):
        load_upscaler(tmp_path / "model", device="cpu", engine="openvino-int8")
    write_images(tmp_path / "images", 3, 264)
    int8.main([str(tmp_path / "model"), "--images", str(tmp_path / "images"), "--count", "2"])
    assert json.loads(capsys.readouterr().out)["convolutions"] > 10
    image = sample_images(1, 24, 32)
    exact = load_upscaler(tmp_path / "model", device="cpu", precision="fp32")(image)[0].astype(int)
    upscaler = load_upscaler(tmp_path / "model", device="cpu", engine="openvino-int8")
    assert "openvino-int8" in upscaler.identity and np.abs(upscaler(image)[0] - exact).mean() < 4
    for asked, chosen in (("auto", "fp32"), ("bf16", "bf16")):  # of what is not convolution
        assert choose_model(str(tmp_path / "model"), "cpu", asked, engine="openvino-int8").precision == chosen
    bundle = read_bundle(tmp_path / "model")
    ranges = json.loads(bundle.file("int8.json").read_text())
    for change in ({"unet.conv_in": -1.0}, {"unet.conv_in": "much"}, {"unet.other": 1.0}):
        write_ranges_as(bundle, ranges | change)
        with pytest.raises(CheckpointError, match=next(iter(change)).replace(".", r"\.")):
            load_upscaler(tmp_path / "model", device="cpu", engine="openvino-int8")
    del ranges["unet.conv_in"]
    write_ranges_as(bundle, ranges)
    with pytest.raises(CheckpointError, match=r"unet\.conv_in"):
        load_upscaler(tmp_path / "model", device="cpu", engine="openvino-int8")


def write_ranges_as(bundle, values):
    (bundle.path / "int8.json").write_text(json.dumps(values))
    write_config(bundle.path, bundle.config)


def test_bits_depend_on_no_number_of_workers(generator):
    results = []
    for workers in (1, 3):
        upscaler = model(engine.with_openvino(generator, torch.float32), scale=2)
        upscaler.embedding = torch.ones(1, 5, 12)
        with upscaler.workers.engaged(Crew(workers, 1)):
            results.append(upscaler(sample_images(4, 36, 52)))
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))


def test_only_the_embedded_kind_is_covered(generator):
    assert engine.is_runnable(generator)
    other = Generator(generator.autoencoder, torch.nn.Identity(), 0.6)
    assert not engine.is_runnable(other)
    with pytest.raises(AssertionError):
        engine.with_openvino(other, torch.float32)


def test_the_embedded_model_gives_torchs_image():
    image = sample_images(1, 40, 56)[0]
    smooth = np.asarray(Image.fromarray(image).resize((112, 80), Image.Resampling.BICUBIC))
    exact = load_upscaler("lite", device="cpu", precision="fp32")([smooth])[0]
    ours = load_upscaler("lite", device="cpu", precision="fp32", engine="openvino")([smooth])[0]
    assert np.abs(ours.astype(int) - exact).max() <= 1
    assert "openvino" in load_upscaler("lite", device="cpu", engine="openvino").identity


def test_an_engine_is_chosen_by_name_and_else_by_what_was_measured_here(tmp_path, monkeypatch):
    monkeypatch.setattr(tuned, "tuned_file", lambda fast: tmp_path / f"tuned{fast:d}.json")
    assert choose_engine("auto", "cpu", "bf16", True) == "torch"
    assert choose_engine("openvino", "cpu", "bf16", True) == "openvino"
    write_tuned(Tuned("openvino", 1))
    assert choose_engine("auto", "cpu", "bf16", True) == "openvino"
    assert (
        choose_engine("torch", "cpu", "bf16", True) == choose_engine("auto", "cpu", "bf16", True, fast=True) == "torch"
    )
    assert choose_engine("auto", "cpu", "bf16", True, has_ranges=True) == "openvino"  # never 8 bits unasked
    assert choose_engine("auto", "cuda:0", "fp16", True) == choose_engine("auto", "cpu", "fp32", False) == "torch"
    assert load_upscaler("lite", device="cpu").planner.most_workers == 1
    fast = load_upscaler("lite", UpscaleOptions(fast=True), device="cpu")
    assert fast.planner.most_workers is None and "openvino" not in fast.identity
    for device, precision, covered, reason in (
        ("cuda:0", "fp16", True, "runs on a CPU, not on cuda:0"),
        ("cpu", "fp16", True, "computes in fp32 or bf16"),
        ("cpu", "fp32", False, "the embedded kind only"),
    ):
        with pytest.raises(ModelNotFoundError, match=reason):
            choose_engine("openvino", device, precision, covered)
    monkeypatch.setattr(tuned, "processor", lambda: "another")
    assert read_tuned() is None and choose_engine("auto", "cpu", "bf16", True) == "torch"
    (tmp_path / "tuned0.json").write_text("{}")
    assert read_tuned() is None
