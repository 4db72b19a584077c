"""What is trained, what it starts from, and what it becomes: the full model on a tiny base, and the lite one."""

import dataclasses
import json
import shutil

import pytest
import torch

from image_core.bundle import read_bundle, verify_bundle
from image_core.errors import CheckpointError, OutputError
from image_core.models.load import load_generator
from image_core.models.official import import_official
from image_core.prompts.embedding import Prompts
from tests.support.train_recipes import tiny, tiny_sd21, write_images
from train.batch import Batch
from train.check import check
from train.config import RecipeError, VsdConfig
from train.export import export_run
from train.item_random import ItemRandom
from train.loop import run
from train.losses.balance import balanced
from train.networks.lite import BlockLatent, block_basis, build_generator, start_from_blocks
from train.networks.restorer import Restorer
from train.runs import Run
from train.stage import build_stage
from train.start import build_lite, build_sd21, load_prior
from train.state import read_run, trainable


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def lite_runs(images, tmp_path_factory):
    """An autoencoder, a prior, and a generator that started from both."""
    folder = tmp_path_factory.mktemp("lite")
    for stage in ("autoencoder", "prior"):
        more = ("data.mixture={clean = 1.0}", "loop.validate_every=4") if stage == "prior" else ("loss.latent=0.1",)
        run(tiny(folder, images, f"stage={stage}", *more), folder / stage, quiet)
    (folder / "list.txt").write_text((images / "0.png").as_posix())
    listed = f"data.lists=[{(folder / 'list.txt').as_posix()!r}]"
    recipe = tiny(folder, images, *starts(folder), "vsd.weight=0.1", "loop.ema=0.9", "data.licence=CC0", listed)
    run(recipe, folder / "generator", quiet)
    return folder, recipe


@pytest.fixture(scope="module")
def sd21_run(tiny_base, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd21")
    recipe = tiny_sd21(tiny_base, images, folder, "sd21.gradient_checkpointing=true", "loop.ema=0.9")
    run(recipe, folder / "run", quiet)
    return folder, recipe


def quiet(messages):
    pass


def starts(folder):
    return f"start.generator={(folder / 'autoencoder').as_posix()!r}", f"start.prior={(folder / 'prior').as_posix()!r}"


def a_image(seed=0, height=64, width=64):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def averaged(folder, restorer):
    content = read_run(folder)
    restorer.load_state_dict(content["modules"]["generator"] | content["average"], strict=False)
    return restorer


def test_the_lite_bundle_runs_like_the_trained_model(lite_runs, tmp_path):
    folder, recipe = lite_runs
    path = export_run(folder / "generator", recipe, tmp_path / "bundle", commit="abc", card={"table": [1, 2]})
    bundle = read_bundle(path)
    verify_bundle(bundle)
    card = bundle.config.card
    assert (card["samples_seen"], card["commit"], card["data"], card["table"]) == (8, "abc", "CC0", [1, 2])
    assert card["recipe"]["start"] == {"generator": "autoencoder", "prior": "prior"}
    assert str(folder) not in json.dumps(card)  # no path of this machine
    generator, embedding = load_generator(bundle), Prompts(bundle)(None)
    trained = averaged(folder / "generator", Restorer(build_generator(recipe.lite)))
    image = a_image(height=40, width=48)
    with torch.no_grad():
        expected, result = trained(image, embedding)[1].clamp(-1, 1), generator(image, embedding)
    assert torch.allclose(expected, result, atol=5e-3)  # the bundle holds float16: 3 digits of values up to 1


def test_each_lite_stage_starts_where_the_last_ended(lite_runs):
    folder, recipe = lite_runs
    start = trainable(build_stage(recipe, torch.device("cpu")).modules["generator"])
    encoder = read_run(folder / "autoencoder")["modules"]["generator"]
    assert not [name for name in encoder if ".unet." in name]
    assert all(torch.equal(start[name], tensor) for name, tensor in encoder.items())
    prior = load_prior(folder / "prior").unet.state_dict()
    differ = {name for name, tensor in prior.items() if not torch.equal(tensor, start[f"generator.unet.{name}"])}
    assert differ == {"conv_out.weight", "conv_out.bias"}
    assert not start["generator.unet.conv_out.weight"].any()


def test_the_autoencoder_stage_is_the_generator_with_a_silent_unet(lite_runs):
    folder, recipe = lite_runs
    prior = load_prior(folder / "prior")
    whole = build_lite(recipe, prior.latent, prior)
    alone = build_lite(dataclasses.replace(recipe, stage="autoencoder", vsd=VsdConfig()), prior.latent, prior)
    with torch.no_grad():
        for a, b in zip(whole(a_image(), torch.zeros(1, 1, 8)), alone(a_image(), torch.zeros(1, 1, 8)), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_a_prior_is_measured_against_the_best_linear_guess(lite_runs):
    lines = (lite_runs[0] / "prior" / "log.jsonl").read_text().splitlines()
    scores = json.loads(lines[-1])
    assert {f"held_out/noise_t{level}" for level in (50, 800)} < scores.keys()
    assert all(value > 0.5 for value in scores.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start.prior": "autoencoder"}, "stage 'autoencoder'; start.prior needs"),
        ({"start.generator": "prior"}, "stage 'prior', which trains no generator"),
        ({"start.prior": "nowhere"}, "no checkpoint here"),
        ({"lite.latent_channels": 16}, "start.prior has 8 latent channels, lite.latent_channels is 16"),
        ({"lite.decoder_width": 16}, r"expects \(.*use the same \[lite\]"),
        ({"start.generator": "lite"}, "expects"),
    ],
)
def test_a_start_that_does_not_fit_is_named(lite_runs, images, tmp_path, change, message):
    folder = lite_runs[0]
    values = dict(item.split("=", 1) for item in starts(folder))
    for key, value in change.items():
        known = str(value) in ("autoencoder", "prior", "nowhere")
        values[key] = repr((folder / str(value)).as_posix()) if known else str(value)
    recipe = tiny(tmp_path, images, *(f"{key}={value}" for key, value in values.items()))
    with pytest.raises(RecipeError, match=message):
        run(recipe, tmp_path / "run", quiet)


def test_block_latent_is_white_and_the_untrained_generator_passes_it_through(images, tmp_path):
    image = a_image(height=64, width=96)
    target = BlockLatent(*block_basis([image[0]], 8))
    latent = target(image)[0].flatten(1)
    assert torch.allclose(latent @ latent.T / latent.shape[1], torch.eye(8), atol=1e-3)
    generator = build_generator(tiny(tmp_path, images).lite)
    start_from_blocks(generator, target)
    with torch.no_grad():
        clean = generator.denoise(generator.encode(image), torch.zeros(1, 1, 8))
    assert torch.allclose(clean[0].flatten(1), latent, atol=1e-4)


@pytest.mark.slow
def test_the_full_model_becomes_a_bundle_and_the_published_layout(sd21_run, tiny_base, tmp_path):
    folder, recipe = sd21_run
    bundle = read_bundle(export_run(folder / "run", recipe, tmp_path / "mine", commit="abc"))
    pickle = export_run(folder / "run", recipe, tmp_path / "mine.pkl", commit="abc")
    imported = import_official(tiny_base, pickle, tmp_path / "imported", merge=True)
    assert bundle.config.card["commit"] == "abc" and bundle.config.name == recipe.name
    assert torch.load(pickle, weights_only=True)["provenance"]["samples_seen"] == 8
    image, embedding = a_image(), Prompts(bundle)("a cat")
    trained = averaged(folder / "run", build_sd21(recipe.sd21))
    with torch.no_grad():
        expected = trained(image, embedding)[1]
        for created in (bundle, imported):
            assert (load_generator(created)(image, embedding) - expected).abs().max() < 1e-4
    base = build_sd21(recipe.sd21)
    with torch.no_grad():
        assert (base(image, embedding)[1] - expected).abs().max() > 1e-3  # it has learnt something


def test_training_goes_on_from_the_published_layout(tiny_base, tiny_weights, images, tmp_path):
    """Written, read into a generator, written again: the same tensors."""
    start = f"start.generator={tiny_weights.as_posix()!r}"
    recipe = tiny_sd21(tiny_base, images, tmp_path, start, "loop.learning_rate=0.0", "loop.steps=1", "vsd.weight=0.0")
    run(recipe, tmp_path / "run", quiet)
    written = torch.load(export_run(tmp_path / "run", recipe, tmp_path / "out.pkl"), weights_only=True)
    expected = torch.load(tiny_weights, weights_only=True)
    assert written.keys() - {"provenance"} == expected.keys()
    for part in ("state_dict_unet", "state_dict_vae"):
        assert written[part].keys() == expected[part].keys()
        assert all(torch.equal(written[part][key], tensor) for key, tensor in expected[part].items())
    assert all(set(written[key]) == set(value) for key, value in expected.items() if key.endswith("_modules"))


def test_exports_refuse_what_makes_no_sense(lite_runs, sd21_run, images, tmp_path):
    folder, recipe = lite_runs
    with pytest.raises(RecipeError, match="published layout is of the full model"):
        export_run(folder / "generator", recipe, tmp_path / "x.pkl")
    with pytest.raises(RecipeError, match="trains no generator"):
        export_run(folder / "prior", tiny(tmp_path, images, "stage=prior"), tmp_path / "x")
    for name in ("taken", "taken.pkl"):
        (tmp_path / name).mkdir()
        with pytest.raises(OutputError, match="exists already"):
            export_run(sd21_run[0] / "run", sd21_run[1], tmp_path / name)


def test_a_base_that_predicts_v_is_refused_by_name(tiny_base, images, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "sd21-768")
    config = base / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prediction_type": "v_prediction"}))
    with pytest.raises(CheckpointError, match=r"sd21-768.*v-prediction.*Stable Diffusion 2.1-base"):
        run(tiny_sd21(base, images, tmp_path), tmp_path / "run", quiet)


def test_missing_perceptual_weights_are_told_before_training(tiny_base, images, tmp_path):
    recipe = tiny_sd21(tiny_base, images, tmp_path, "loss.lpips=2.0", "loss.lpips_backbone=nowhere.pth")
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        run(recipe, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_checkpointing_changes_no_gradient(tiny_base, images, tmp_path):
    norms = []
    for value in ("true", "false"):
        recipe = tiny_sd21(tiny_base, images, tmp_path, f"sd21.gradient_checkpointing={value}", "loop.log_every=1",
                           "loop.steps=2")  # fmt: skip
        messages = []
        run(recipe, tmp_path / value, messages.append)
        norms.append([values["generator/gradient"] for values in messages])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_video_is_trained_on_with_a_loss_between_frames(tiny_base, images, tmp_path):
    recipe = tiny_sd21(
        tiny_base,
        images,
        tmp_path,
        "data.frames=2",
        "loss.warp=1.0",
        "loop.batch=1",
        "sd21.draw_latent=false",
        "loop.log_every=1",
    )
    messages = []
    run(recipe, tmp_path / "run", messages.append)
    assert all(values["generator/warp"] > 0 and values["generator/vsd"] > 0 for values in messages)


def test_bf16_keeps_the_last_layer_and_the_step_in_float32(tiny_base, images, tmp_path):
    recipe = tiny_sd21(tiny_base, images, tmp_path)
    restorer = build_sd21(recipe.sd21)
    seen = []
    restorer.generator.unet.conv_out.base_layer.register_forward_hook(
        lambda _, args, out: seen.append((args[0].dtype, out.dtype))
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        clean, _ = restorer(a_image(), torch.zeros(1, 7, 32))
    assert seen == [(torch.float32, torch.float32)] and clean.dtype == torch.float32


def test_draws_go_by_item_not_by_batch():
    device = torch.device("cpu")
    whole, tail = ItemRandom(3, range(4), device), ItemRandom(3, range(2, 4), device)
    assert torch.equal(whole.normal("a", (2, 3))[2:], tail.normal("a", (2, 3)))
    assert torch.equal(whole.integers("t", 20, 980)[2:], tail.integers("t", 20, 980))
    assert not torch.equal(whole.normal("a", (5,)), whole.normal("b", (5,)))
    assert not torch.equal(whole.normal("a", (5,)), ItemRandom(4, range(4), device).normal("a", (5,)))
    times = ItemRandom(0, range(4000), device).integers("t", 20, 980)
    assert times.min() == 20 and times.max() == 979 and abs(times.float().mean() - 499.5) < 15
    clip = Batch(torch.zeros(6, 3, 8, 8), torch.zeros(6, 3, 8, 8), ["", ""], 3, ItemRandom(0, range(2), device), 0)
    assert torch.equal(clip.integers("t", 0, 1000), clip.integers("t", 0, 1000)[[0, 0, 0, 3, 3, 3]])
    assert len(clip.normal("n", (4,)).unique(dim=0)) == 6


def test_a_share_of_the_gradient_is_that_share():
    at = torch.randn(5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    reference, loss = (at**2).sum(), 3 * at.sum()
    scaled = balanced(loss, reference, at, 0.25)
    (gradient,) = torch.autograd.grad(scaled, at)
    assert torch.allclose(gradient.norm(), 0.25 * (2 * at).norm()) and gradient.std() == 0  # all in one direction
    assert torch.allclose(scaled, 0.25 * (2 * at).norm() / (3 * 5**0.5) * loss)
    weak = balanced(1e-9 * loss, reference, at, 1.0)
    assert torch.allclose(weak, 100 * 1e-9 * loss)  # noise is not blown up


def test_check_tells_data_weights_memory_disk_and_pace(sd21_run, tmp_path):
    lines = list(check([Run(sd21_run[1], tmp_path / "not" / "yet")]))
    messages = "\n".join(lines)
    for part in ("data: items of 1 x 64 x 64 px", "million parameters learn", "GB of weights", "a step: ", "GB free"):
        assert part in messages
    assert not (tmp_path / "not").exists()
    recipe = dataclasses.replace(sd21_run[1], sd21=dataclasses.replace(sd21_run[1].sd21, base="nowhere"))
    with pytest.raises(CheckpointError, match="nowhere"):
        list(check([Run(recipe, tmp_path)]))


@pytest.mark.slow
def test_random_weights_overfit_eight_crops(tmp_path):
    """Everything learns here, the decoder too: the loss falls more than tenfold."""
    crops = write_images(tmp_path / "crops", count=8, size=32)
    shape = ("lite.latent_channels=32", "lite.encoder_width=48", "lite.decoder_width=48", "lite.decoder_blocks=3")
    data = ("data.holdout=0", "data.crop_px=32", "loss.pixel=mse", "loop.batch=8", "loop.learning_rate=3e-3")
    length = ("loop.steps=150", "loop.log_every=25", "loop.checkpoint_every=150", "loop.schedule=cosine")
    messages = []
    run(tiny(tmp_path, crops, *shape, *data, *length), tmp_path / "run", messages.append)
    assert messages[-1]["generator/pixel"] < messages[0]["generator/pixel"] / 10
