"""The shift-tolerant LPIPS: read from a package's file, a distance, and a loss that a recipe can ask for."""

import importlib.util

import pytest
import torch

from image_core.errors import CheckpointError
from image_core.perceptual import Perceptual
from tests.support.train_recipes import tiny, write_images
from train.batch import Batch
from train.config import RecipeError
from train.item_random import ItemRandom
from train.loop import run
from train.losses.shift_tolerant import PACKAGE, empty_distance, load_shift_tolerant
from train.stage import build_stage

CPU = torch.device("cpu")
INSTALLED = importlib.util.find_spec(PACKAGE) is not None


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of that name with random weights in the layout of the real one."""
    torch.manual_seed(0)
    folder = tmp_path / "site" / PACKAGE
    (folder / "weights" / "vST0.0").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('its code must not run')")
    state = {}
    for name, tensor in empty_distance("alex").state_dict().items():
        if name.endswith("filt"):
            line = torch.tensor([1.0, 2.0, 1.0])
            tensor = (torch.outer(line, line) / 16).expand_as(tensor)
        head = name.startswith("lins.")
        state[f"lin{name[5]}.model.1.weight" if head else name] = (tensor.abs() if head else tensor).contiguous()
    torch.save(state, folder / "weights" / "vST0.0" / "alex_shift_tolerant.pth")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def smooth(shift=0):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0) + shift, indexing="ij")
    return torch.stack([torch.sin(x / 5), torch.cos(y / 7), torch.sin((x + y) / 9)])[None]


def test_it_is_a_distance_whose_gradient_reaches_the_image_alone(package):
    distance = load_shift_tolerant("alex")
    image = smooth().requires_grad_(True)
    assert package.is_dir() and distance(image, image).item() == 0
    distance(image, torch.zeros_like(image)).sum().backward()
    assert image.grad.abs().sum() > 0 and all(p.grad is None for p in distance.parameters())
    assert 0 < distance(smooth(1), smooth()).item() < distance(smooth(8), smooth()).item()


def test_weights_of_another_network_are_refused(package):
    file = package / "weights" / "vST0.0" / "alex_shift_tolerant.pth"
    torch.save({"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, file)
    with pytest.raises(CheckpointError, match="not the weights of the shift-tolerant alex"):
        load_shift_tolerant("alex")
    with pytest.raises(CheckpointError, match="no such file"):
        load_shift_tolerant("vgg")
    with pytest.raises(ValueError, match="vgg, alex"):
        empty_distance("squeeze")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"osediff-video\[train\]"):
        load_shift_tolerant("vgg")


@pytest.mark.skipif(not INSTALLED, reason="needs stlpips-pytorch")
@pytest.mark.parametrize(("network", "golden"), [("alex", 0.74351), ("vgg", 0.78992)])
def test_it_computes_what_the_package_computes(network, golden):
    """By its own code at version 0.0.2, with stand-ins for the shell and the summary that it imports."""
    assert load_shift_tolerant(network)(smooth(), -smooth()).item() == pytest.approx(golden, abs=1e-4)


def test_a_recipe_learns_from_it(package, tmp_path):
    overrides = ("loss.lpips=0.6", "loss.lpips_network=st-alex", "loss.balance=true", "data.crop_px=40", "loop.steps=1")
    reports = []
    run(
        tiny(tmp_path, write_images(tmp_path / "images"), *overrides, "loop.log_every=1"),
        tmp_path / "run",
        reports.append,
    )
    assert package.is_dir() and reports[-1]["generator/lpips"] > 0


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("asked", "seen"), [((), 40), (("loss.lpips_px=32",), 32)])
def test_it_sees_as_large_a_part_as_asked(tmp_path, monkeypatch, asked, seen):
    """Of two equal samples another part each, but of the result and its target the same."""
    seen_images, forward = [], Perceptual.forward
    monkeypatch.setattr(Perceptual, "forward", lambda self, *pair: seen_images.extend(pair) or forward(self, *pair))
    overrides = ("loss.lpips=1", "loss.lpips_network=st-alex", "data.crop_px=48", *asked)
    stage = build_stage(tiny(tmp_path, write_images(tmp_path / "images"), *overrides), CPU)
    ramp = torch.linspace(-1, 1, 48 * 48).view(1, 1, 48, 48).expand(2, 3, 48, 48)
    batch = Batch(ramp, ramp, ["", ""], 1, ItemRandom(0, [0, 1], CPU), 0)
    stage.losses("generator", batch)
    result, target = seen_images
    assert result.shape == target.shape == (2, 3, seen, seen)
    assert not torch.equal(*target)
    place = int((target[0, 0, 0, 0] == ramp[0, 0].flatten()).nonzero()[0])
    row, column = divmod(place, 48)
    assert torch.equal(result[0], batch.made_image[0, :, row : row + seen, column : column + seen])


def test_a_recipe_that_cannot_use_it_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="expected 32 to data"):
        tiny(tmp_path, tmp_path, "loss.lpips=1", "data.crop_px=48", "loss.lpips_px=56")
    with pytest.raises(RecipeError, match="sides of 40"):
        tiny(tmp_path, tmp_path, "loss.lpips=1", "data.crop_px=32")
    with pytest.raises(RecipeError, match="does nothing with st-alex"):
        tiny(tmp_path, tmp_path, "loss.lpips_network=st-alex", "loss.lpips_backbone=a.pth")
