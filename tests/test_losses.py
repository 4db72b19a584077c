"""What training punishes: each loss is zero where it should be, and pulls the right way."""

import lpips
import pytest
import torch
from torch import nn
from torchvision.models import alexnet, vgg16

from image_core.errors import CheckpointError
from image_core.perceptual import load_lpips, unit_length


def noise(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module", params=["alex", "vgg"])
def backbone(request, tmp_path_factory):
    """Random weights in torchvision's layout, without the classifier that LPIPS does not read."""
    with torch.device("meta"):
        network = {"alex": alexnet, "vgg": vgg16}[request.param](weights=None).features
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5, generator=generator)
    path = tmp_path_factory.mktemp("backbone") / f"{request.param}.pth"
    torch.save({f"features.{name}": tensor for name, tensor in network.state_dict().items()}, path)
    return request.param, path


def test_lpips_is_the_packages_own_with_this_backbone(backbone, tmp_path, monkeypatch):
    name, path = backbone
    distance = load_lpips(name, path)
    first, second = noise(0, 2, 3, 64, 64), noise(1, 2, 3, 64, 64)
    with torch.device("meta"), pytest.warns(UserWarning):
        official = lpips.LPIPS(pretrained=False, net=name, pnet_rand=True, verbose=False)
    weights = torch.load(path, weights_only=True)
    heads = torch.load(f"{lpips.__path__[0]}/weights/v0.1/{name}.pth", weights_only=True, map_location="cpu")
    state = {f"net.{key}": weights["features." + key.partition(".")[2]] for key, _ in official.net.named_parameters()}
    official.load_state_dict(state | heads, assign=True, strict=False)
    with torch.no_grad():
        assert torch.allclose(distance(first, second), official(first, second).flatten(), rtol=1e-5)
    assert distance(first, first).tolist() == [0, 0] and distance(first, second).min() > 1e-3
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    cached = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}[name]
    (tmp_path / "checkpoints" / cached).symlink_to(path)
    assert torch.equal(load_lpips(name)(first, second), distance(first, second))


def test_lpips_reaches_the_picture_and_stays_frozen_in_training(backbone):
    distance = load_lpips(*backbone).train()
    first = noise(0, 1, 3, 64, 64).requires_grad_()
    distance(first, noise(1, 1, 3, 64, 64)).sum().backward()
    assert first.grad is not None and first.grad.isfinite().all() and first.grad.abs().max() > 0
    assert not distance.training and not any(p.requires_grad for p in distance.parameters())


def test_unit_length_has_a_gradient_where_nothing_fires():
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit_length(features).sum().backward()
    assert features.grad is not None and features.grad.isfinite().all()


def test_a_missing_or_wrong_backbone_is_refused_with_what_to_do(backbone, tmp_path, monkeypatch):
    name, path = backbone
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match=r"no such file.*download https://.*\.pth"):
        load_lpips(name)
    with pytest.raises(CheckpointError, match="no such file"):
        load_lpips(name, tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match=r"features.*expected.*not torchvision's"):
        load_lpips("vgg" if name == "alex" else "alex", path)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a state dict"):
        load_lpips(name, tmp_path / "text.pth")


def test_lpips_refuses_what_it_cannot_compare(backbone):
    distance = load_lpips(*backbone)
    with pytest.raises(ValueError, match="two"):
        distance(noise(0, 1, 3, 64, 64), noise(0, 1, 3, 64, 48))
    with pytest.raises(ValueError, match="32"):
        distance(noise(0, 1, 3, 16, 64), noise(0, 1, 3, 16, 64))
