"""What a recipe says reaches the optimisers, the losses, the judges and what is kept; each on the smallest model."""

import dataclasses
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from tests.support.train_recipes import tiny, write_images
from tests.support.training_runs import learnt, quiet, same
from train import generator_stage, runs
from train import loop as training_loop
from train import stage as stages
from train.batch import Batch
from train.config import NEGATIVE_PROMPT, DataConfig, LoopConfig, LossConfig, RecipeError, VsdConfig
from train.data.samples import draw_kind, open_samples
from train.export import export_run
from train.generator_stage import GeneratorStage
from train.item_random import ItemRandom
from train.light_checkpoint import read_thin, save_thin
from train.loop import run
from train.losses import vsd
from train.losses.pixel import charbonnier
from train.losses.spared import relative_errors
from train.schedule import alpha_bars, learning_rate_share
from train.stage import build_stage
from train.start import build_lite
from train.state import read_run
from train.validation import Validation

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def prior(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    run(tiny(folder, images, "stage=prior", "loop.steps=1", "loop.batch=1"), folder / "run", quiet)
    return folder / "run"


@pytest.fixture
def recipe(tmp_path, images, prior):
    """The smallest recipe that has a critic too, with more settings."""
    return lambda *more: tiny(tmp_path, images, f"start.prior={prior.as_posix()!r}", "vsd.weight=0.3", *more)


def batch_of(step=0, seed=0, count=2):
    draw = torch.Generator().manual_seed(seed)
    low, high = (torch.rand(count, 3, 64, 64, generator=draw) * 2 - 1 for _ in range(2))
    return Batch(low, high, [""] * count, 1, ItemRandom(seed, range(count), CPU), step)


def test_the_defaults_are_the_papers():
    loop, distillation = LoopConfig(), VsdConfig()
    assert (loop.learning_rate, loop.weight_decay, loop.clip_norm, loop.schedule) == (5e-5, 1e-2, 1.0, "constant")
    assert (distillation.low, distillation.high, distillation.guidance) == (20, 980, 7.5)
    assert distillation.critic_learning_rate == 5e-5 and distillation.negative_prompt == NEGATIVE_PROMPT
    assert LossConfig() == LossConfig(pixel="mse", pixel_weight=1.0, lpips=0.0, latent=0.0, adversarial=0.0)


def test_the_optimizers_follow_the_recipe(recipe, tmp_path, monkeypatch):
    """Learning rates of both turns along the schedule, weight decay, and gradients no longer than asked."""
    steps, told, real = [], [], torch.optim.AdamW.step

    def step(self, *words, **named):
        (group,) = self.param_groups
        squares = [p.grad.square().sum() for p in group["params"] if p.grad is not None]
        steps.append((group["lr"], group["weight_decay"], float(torch.stack(squares).sum().sqrt())))
        return real(self, *words, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    settings = ("loop.learning_rate=1e-3", "vsd.critic_learning_rate=3e-4", "loop.schedule=cosine", "loop.steps=3",
                "loop.warmup_steps=1", "loop.weight_decay=0.07", "loop.clip_norm=1e-4", "loop.log_every=1",
                "loop.batch=1")  # fmt: skip
    made = recipe(*settings)
    run(made, tmp_path / "run", told.append)
    shares = [learning_rate_share(number, made.loop) for number in range(3)]
    assert [lr for lr, _, _ in steps] == pytest.approx([rate * share for share in shares for rate in (1e-3, 3e-4)])
    assert {decay for _, decay, _ in steps} == {0.07} and shares[0] == 1 and len(set(shares)) >= 2
    assert all(norm <= 1.001e-4 for *_, norm in steps) and any(norm > 0.9e-4 for *_, norm in steps)
    assert [values["step"] for values in told] == [1, 2, 3]


def test_validation_sees_the_average(tmp_path, images, monkeypatch):
    seen = []

    def scores(self, _):
        seen.append({name: p.detach().clone() for name, p in self.modules["generator"].named_parameters()})
        return {"held_out/psnr": 1.0}

    monkeypatch.setattr(GeneratorStage, "scores", scores)
    settings = ("loop.ema=0.9", "loop.validate_every=2", "loop.steps=2", "loop.batch=1", "loop.checkpoint_every=2")
    made = tiny(tmp_path, images, *settings)
    first = dict(stage_of(made).modules["generator"].named_parameters())
    run(made, tmp_path / "run", quiet)
    content = read_run(tmp_path / "run")
    assert any(not torch.equal(first[name], tensor) for name, tensor in content["average"].items())
    assert content["average"] and all(torch.equal(seen[0][name], tensor) for name, tensor in content["average"].items())
    weights = content["modules"]["generator"]
    assert any(not torch.equal(weights[name], tensor) for name, tensor in content["average"].items())


def test_another_seed_is_another_model(tmp_path, images):
    results = []
    for name, seed in (("a", 1), ("b", 2)):
        made = tiny(tmp_path, images, f"loop.seed={seed}", "loop.steps=1", "loop.batch=1", "loop.learning_rate=0")
        run(made, tmp_path / name, quiet)
        results.append(learnt(tmp_path / name)["modules"])
    assert not same(*results)


def test_as_many_checkpoints_are_kept_as_asked(tmp_path, images):
    made = tiny(tmp_path, images, "loop.steps=5", "loop.checkpoint_every=1", "loop.keep=3", "loop.batch=1")
    run(made, tmp_path / "run", quiet)
    assert [path.name[-4:-3] for path in sorted((tmp_path / "run").glob("*.pt"))] == ["3", "4", "5"]


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, images, monkeypatch):
    steps, real = [], GeneratorStage.losses
    monkeypatch.setattr(GeneratorStage, "losses", lambda *words: steps.append(words[2].step) or real(*words))
    settings = ("loop.checkpoint_every=1", "loop.ema=0.9", "loop.batch=1")
    run(tiny(tmp_path, images, *settings, "loop.steps=2"), tmp_path / "whole", quiet)
    for last in (1, 2):
        run(tiny(tmp_path, images, *settings, f"loop.steps={last}"), tmp_path / "cut", quiet)
    assert steps == [0, 1, 0, 1]  # nothing is done again
    assert same(learnt(tmp_path / "cut"), learnt(tmp_path / "whole"))


def test_every_step_draws_its_own_noise(tmp_path, images, monkeypatch):
    items = []

    class Noted(ItemRandom):
        def __init__(self, seed, numbers, device):
            items.append(list(numbers))
            super().__init__(seed, numbers, device)

    monkeypatch.setattr(training_loop, "ItemRandom", Noted)
    run(tiny(tmp_path, images, "loop.steps=3"), tmp_path / "run", quiet)
    assert items == [[0, 1], [2, 3], [4, 5]]


def test_draws_of_different_purposes_differ():
    draws = ItemRandom(0, [3, 4], CPU)
    one, other = (draws.normal(purpose, (4,)) for purpose in ("vsd/noise", "critic/noise"))
    assert not torch.equal(one, other) and torch.equal(one, ItemRandom(0, [3, 4], CPU).normal("vsd/noise", (4,)))


def test_half_precision_reaches_the_network(tmp_path, images, monkeypatch):
    kinds = set()
    real = GeneratorStage.losses

    def losses(self, turn, batch):
        kinds.add(torch.is_autocast_enabled("cpu"))
        return real(self, turn, batch)

    monkeypatch.setattr(GeneratorStage, "losses", losses)
    for precision in ("float32", "bf16"):
        made = tiny(tmp_path, images, f"loop.precision={precision}", "loop.steps=1", "loop.batch=1")
        run(made, tmp_path / precision, quiet)
        assert kinds == {precision == "bf16"}
        kinds.clear()


def test_a_falling_rate_cannot_be_stretched(tmp_path, images):
    """Its length is part of the learning rate; a constant rate may go on for longer."""
    settings = ("loop.batch=1", "loop.checkpoint_every=1", "loop.schedule=cosine")
    run(tiny(tmp_path, images, *settings, "loop.steps=2"), tmp_path / "run", quiet)
    with pytest.raises(RecipeError, match=r"loop\.steps was 2, is 3"):
        run(tiny(tmp_path, images, *settings, "loop.steps=3"), tmp_path / "run", quiet)


class Code:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_checkpoint_runs_no_code(tmp_path, capsys):
    torch.save({"format": 1, "modules": Code()}, tmp_path / "step-00000001.pt")
    with pytest.raises(RecipeError, match="not a readable checkpoint"):
        read_run(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def stage_of(recipe):
    torch.manual_seed(0)
    return build_stage(recipe, CPU)


def test_losses_are_those_of_the_recipe(tmp_path, images):
    for kind, distance in (("mse", F.mse_loss), ("charbonnier", charbonnier)):
        stage, batch = stage_of(tiny(tmp_path, images, f"loss.pixel={kind}", "loss.pixel_weight=0.7",
                                     "loss.latent=0.5")), batch_of()  # fmt: skip
        losses = stage.losses("generator", batch)
        assert torch.allclose(losses["pixel"], 0.7 * distance(batch.made_image, batch.high))
        expected = 0.5 * F.l1_loss(batch.made_latent, stage.parts.latent(batch.high))
        assert set(losses) == {"pixel", "latent"} and torch.allclose(losses["latent"], expected)


@pytest.mark.parametrize("balance", [True, False])
def test_shares_are_balanced_only_when_asked(tmp_path, images, monkeypatch, balance):
    asked = []
    monkeypatch.setattr(generator_stage, "balanced", lambda loss, *words: asked.append(words[-1]) or loss)
    made = tiny(tmp_path, images, f"loss.balance={str(balance).lower()}", "loss.adversarial=0.2")
    stage_of(made).losses("generator", batch_of())
    assert asked == [0.2] * balance


def test_distillation_is_as_the_recipe_says(recipe, monkeypatch):
    settings = ("vsd.from_step=5", "vsd.low=300", "vsd.high=310", "vsd.guidance=3.5", "vsd.negative_prompt='ugly'")
    stage, asked, texts = stage_of(recipe(*settings)), [], []

    def loss(_score, clean, **named):
        asked.append(named)
        return clean.sum() * 0 + 2

    real = stage.parts.captions
    stage.parts.captions = lambda captions: texts.append(list(captions)) or real(captions)
    monkeypatch.setattr(vsd, "generator_loss", loss)
    assert "vsd" not in stage.losses("generator", batch_of(step=4)) and not asked
    losses = stage.losses("generator", batch_of(step=5, count=12))
    assert float(losses["vsd"].detach()) == pytest.approx(0.3 * 2)
    assert int(asked[0]["timesteps"].min()) >= 300 and int(asked[0]["timesteps"].max()) < 310
    assert asked[0]["guidance"] == 3.5 and texts[-1] == ["ugly"]


def test_judges_see_what_was_made(recipe, monkeypatch):
    """The critic the latent, the adversary the image beside the good one, and each moves in its own turn alone."""
    stage, batch, seen = stage_of(recipe("loss.adversarial=0.1")), batch_of(), {}
    parameters = list(stage.parts.discriminator.parameters())
    total = sum(stage.losses("generator", batch).values())
    total.backward()
    assert all(p.grad is None for p in parameters) and all(p.requires_grad for p in parameters)

    def critic(_score, latent, **_):
        seen["latent"] = latent
        return latent.sum()

    monkeypatch.setattr(vsd, "critic_loss", critic)
    stage.losses("critic", batch)
    assert torch.equal(seen["latent"], batch.made_latent) and not seen["latent"].requires_grad
    monkeypatch.setattr(generator_stage, "parts_of", lambda _batch, _name, _side, *pictures: list(pictures))
    stage.modules["discriminator"] = lambda pictures: seen.update(shown=pictures) or (pictures[:, :1], [])
    stage.losses("discriminator", batch)
    assert torch.equal(seen["shown"], torch.cat([batch.high, batch.made_image]))


def test_a_grey_adversary_asks_for_no_colour(recipe):
    """In both turns it sees three channels that are alike, so what it asks for moves all three alike."""
    stage, batch, shown = stage_of(recipe("loss.adversarial=0.1", "loss.discriminator=grey")), batch_of(), []
    stage.parts.discriminator.register_forward_pre_hook(lambda _module, images: shown.append(images[0].detach()))
    for turn in ("generator", "discriminator"):
        stage.losses(turn, batch)
    assert len(shown) == 3  # the good image, what was made, and both
    for images in shown:
        assert torch.equal(images, images[:, :1].expand(-1, 3, -1, -1)) and images.std() > 0.1


def with_one_spared(batch):
    """The first of two images is as a resize leaves it, the second is damaged."""
    batch.low = F.interpolate(F.avg_pool2d(batch.high, 4), scale_factor=4, mode="bicubic")
    batch.low[1] *= -2
    return batch


def test_of_what_was_only_made_small_nobody_is_the_judge(recipe):
    """In both turns; its features are compared with the truth's, as others are."""
    stage, batch = stage_of(recipe("loss.adversarial=0.1", "loss.spared=0.1")), with_one_spared(batch_of())
    stage.losses("generator", batch)
    assert batch.judged.tolist() == pytest.approx([0, 1], abs=1e-4)
    image = batch.high.clone().requires_grad_()
    stage.adversarial_losses(image, batch, image.square().mean())["adversarial"].backward()
    first, second = image.grad.abs().amax((1, 2, 3)).tolist()
    assert first == 0 < second
    verdicts = torch.tensor([5.0, 0.5, 5.0, -0.5]).view(4, 1, 1, 1)  # real, then made; of the first all wrong
    stage.modules["discriminator"] = lambda _images: (verdicts, [])
    assert stage.losses("discriminator", batch)["discriminator"].item() == pytest.approx(1, abs=1e-3)


def test_honesty_is_asked_where_nothing_was_lost_but_size(recipe):
    stage, batch = stage_of(recipe("loss.spared=0.1", "loss.honest=2.0")), with_one_spared(batch_of())
    loss = stage.losses("generator", batch)["honest"]
    first = relative_errors(batch.high, batch.made_image)[0][0].item()
    assert loss.item() == pytest.approx(2 * first / 2, rel=1e-3)


def test_distillation_pulls_towards_the_teacher():
    latent = torch.zeros(1, 2, 4, 4, requires_grad=True)
    teacher, critic = torch.ones(1, 2, 4, 4), -torch.ones(1, 2, 4, 4)
    vsd.loss_of_gradient(latent, vsd.distillation_gradient(latent.detach(), teacher, critic)).backward()
    assert (latent.grad < 0).all()  # a step down the gradient makes it larger: to the teacher, from the critic


def test_the_critic_s_loss_moves_the_critic_alone():
    latent, weight = torch.zeros(1, 2, 4, 4, requires_grad=True), torch.ones(1, requires_grad=True)
    loss = vsd.critic_loss(
        lambda noisy, *_, adapted: noisy * weight * adapted,
        latent * 1,
        noise=torch.ones(1, 2, 4, 4),
        timesteps=torch.tensor([500]),
        alpha_bars=alpha_bars(),
        embedding=torch.zeros(1, 1, 1),
    )
    loss.backward()
    assert latent.grad is None and weight.grad is not None


def test_the_critic_is_as_large_as_asked(recipe):
    sizes = [
        sum(p.numel() for p in stage_of(recipe(f"vsd.critic={kind}")).parts.score.parameters() if p.requires_grad)
        for kind in ("all", "mid")
    ]
    assert sizes[0] > sizes[1] > 0


@pytest.mark.parametrize(("network", "expected"), [("vgg", "vgg"), ("alex", "alex"), ("st-alex", "alex, blurred")])
def test_the_perceptual_network_is_the_one_named(monkeypatch, network, expected):
    monkeypatch.setattr(stages, "load_lpips", lambda name, _: name)
    monkeypatch.setattr(stages, "load_shift_tolerant", lambda name: f"{name}, blurred")
    assert stages.load_perceptual(LossConfig(lpips=1.0, lpips_network=network)) == expected


@pytest.fixture(scope="module")
def averaged_run(images, tmp_path_factory):
    """A run whose average is far from its weights."""
    folder = tmp_path_factory.mktemp("averaged")
    made = tiny(folder, images, "loop.ema=0.99", "loop.steps=2", "loop.batch=1", "loop.learning_rate=1e-2")
    run(made, folder / "run", quiet)
    return made, folder / "run"


def test_what_is_exported_is_the_average(averaged_run, tmp_path):
    made, folder = averaged_run
    content = read_run(folder)
    out = export_run(folder, made, tmp_path / "bundle", "abc", {"summary": "mine"})
    name = "to_patch.weight"
    written = load_file(out / "autoencoder.safetensors")[name].float()
    average = content["average"][f"generator.autoencoder.{name}"]
    assert torch.allclose(written, average, atol=1e-3)
    assert not torch.allclose(written, content["modules"]["generator"][f"generator.autoencoder.{name}"], atol=1e-3)
    assert '"summary": "mine"' in (out / "bundle.json").read_text()


def test_a_start_takes_the_average(averaged_run, tmp_path, images):
    _, folder = averaged_run
    made = tiny(tmp_path, images, f"start.generator={folder.as_posix()!r}")
    restorer = build_lite(made, stages.block_latent(made), None)
    name = "generator.autoencoder.to_patch.weight"
    assert torch.equal(dict(restorer.named_parameters())[name].detach(), read_run(folder)["average"][name])


def test_a_thin_checkpoint_keeps_the_average_to_a_part_in_two_hundred(averaged_run, tmp_path):
    content = read_run(averaged_run[1])
    save_thin(content, tmp_path / "thin.pt", finished=False)
    weights = content["modules"]["generator"]
    for name, average in read_thin(tmp_path / "thin.pt")["average"].items():
        largest = float((content["average"][name] - weights[name]).abs().max())
        assert float((average - content["average"][name]).abs().max()) <= largest / 200


def test_minutes_are_minutes(monkeypatch):
    deadlines, started = [], 1000.0
    monkeypatch.setattr(runs.time, "monotonic", lambda: started)
    monkeypatch.setattr(runs, "run", lambda *words: deadlines.append(words[-1]) or 9)
    one = SimpleNamespace(recipe=SimpleNamespace(loop=SimpleNamespace(steps=9)), folder="run")
    assert list(runs.train_runs([one], quiet, minutes=3)) == [(one, 9)] and deadlines == [started + 180]
    assert list(runs.train_runs([one], quiet)) == [(one, 9)] and deadlines[-1] == math.inf


def test_a_held_out_pair_is_scored_against_the_good_one():
    low, high = torch.full((3, 64, 64), -0.5), torch.full((3, 64, 64), 0.5)
    asked = []

    def perfect(given):
        asked.append(float(given.mean()))
        return torch.full_like(given, 0.5)

    scores = Validation([(low, high)], CPU).scores(perfect)
    assert asked == [-0.5] and scores["held_out/psnr"] > 70


def test_the_mixture_is_drawn_by_its_chances():
    config = DataConfig(mixture={"light": 0.9, "heavy": 0.1})
    rng = np.random.default_rng(0)
    kinds = [draw_kind(config, rng) for _ in range(2000)]
    assert kinds.count("heavy") / 2000 == pytest.approx(0.1, abs=0.03)


def test_no_two_items_are_alike(images):
    config = DataConfig(folder=str(images), holdout=0, crop_px=32, mixture={"light": 1.0})
    samples = open_samples(config, seed=0, length=300)
    first = samples[0]
    assert not any(torch.equal(first.high, samples[number].high) for number in (1, 64, 100, 128, 256, 299))


def test_low_and_high_are_of_one_frame(images, monkeypatch):
    """Of the neighbours that a codec needs, the last: the low one is of the same place in time as the good one."""

    def numbered(clip, *_):
        numbers = torch.arange(float(len(clip)))[:, None, None, None].expand(-1, 3, 8, 8)
        return numbers, numbers

    monkeypatch.setattr("train.data.samples.make_pair", numbered)
    for frames in (1, 2):
        config = DataConfig(folder=str(images), holdout=0, crop_px=32, frames=frames, mixture={"video": 1.0})
        low, high, _ = open_samples(config, seed=0, length=1)[0]
        assert torch.equal(low, high) and low[:, 0, 0, 0].tolist() == [1.0, 2.0][-frames:]


def test_a_copied_run_is_gone_on_with_by_its_content(averaged_run, tmp_path):
    """Where a run lies is no part of it."""
    made, folder = averaged_run
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert run(dataclasses.replace(made, name="another"), tmp_path / "elsewhere", quiet) == 2


def test_a_rate_rises_to_its_full_height_within_the_steps_asked_for():
    """Its first step moves already, and the last of the rise is whole."""
    assert [learning_rate_share(step, LoopConfig(warmup_steps=4)) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_autoencoder_s_stage_leaves_the_unet_alone(tmp_path, images):
    for stage, learns in (("autoencoder", False), ("generator", True)):
        made = tiny(tmp_path, images, f"stage={stage}")
        restorer = build_lite(made, stages.block_latent(made), None)
        assert restorer.use_unet == learns
        assert {p.requires_grad for p in restorer.generator.unet.parameters()} == {learns}
