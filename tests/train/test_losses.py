"""What training punishes: each loss is zero where it should be, and pulls the right way."""

import cv2
import lpips
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import alexnet, vgg16

from image_core.errors import CheckpointError
from image_core.perceptual import load_lpips, unit_length
from osediff_video.temporal.flow import warp as flow_warp
from train.losses.discriminator import PatchDiscriminator, feature_matching, hinge_discriminator, hinge_generator
from train.losses.pixel import charbonnier
from train.losses.warp import truth_motion, warp_consistency, warp_tensor

# --- perception ---------------------------------------------------------------------------------------------------


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


def test_lpips_reaches_the_image_and_stays_frozen_in_training(backbone):
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
    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_lpips(name, tmp_path / "text.pth")


def test_lpips_refuses_what_it_cannot_compare(backbone):
    distance = load_lpips(*backbone)
    with pytest.raises(ValueError, match="two"):
        distance(noise(0, 1, 3, 64, 64), noise(0, 1, 3, 64, 48))
    with pytest.raises(ValueError, match="32"):
        distance(noise(0, 1, 3, 16, 64), noise(0, 1, 3, 16, 64))


# --- pixels -------------------------------------------------------------------------------------------------------


def test_charbonnier_is_the_absolute_error_with_a_round_bottom():
    assert charbonnier(torch.zeros(2, 3), torch.zeros(2, 3)).item() == pytest.approx(1e-3)
    assert charbonnier(torch.ones(2, 3), torch.zeros(2, 3)).item() == pytest.approx((1 + 1e-6) ** 0.5)
    with pytest.raises(ValueError, match="match"):
        charbonnier(torch.zeros(2, 3), torch.zeros(1, 3))


# --- the adversary ------------------------------------------------------------------------------------------------


def test_hinge_losses_by_hand():
    real, fake = (torch.tensor(values).view(3, 1, 1, 1) for values in ([2.0, 0.0, -1.0], [-2.0, 0.0, 1.0]))
    assert hinge_discriminator(real, fake, torch.ones(3)).item() == pytest.approx((0 + 1 + 2) / 3 + (0 + 1 + 2) / 3)
    assert hinge_discriminator(real, fake, torch.tensor([0, 1, 0.5])).item() == pytest.approx((2 + 0.5 * 4) / 1.5)
    assert hinge_discriminator(real, fake, torch.zeros(3)) == 0
    one = torch.ones(4, 1, 2, 2)
    assert hinge_discriminator(one, -one, torch.ones(4)) == 0
    assert hinge_generator(fake, torch.ones(3)).item() == pytest.approx(1 / 3)
    assert hinge_generator(fake, torch.tensor([1, 1, 0])).item() == pytest.approx(2 / 3)


def test_feature_matching_pulls_the_made_image_only():
    real, fake = ([noise(s, 2, 4, 8, 8).requires_grad_(), noise(s + 1, 2, 8, 4, 4).requires_grad_()] for s in (0, 5))
    loss = feature_matching(real, fake)
    expected = torch.stack([(a - b).abs().mean() for a, b in zip(real, fake, strict=True)]).mean()
    assert loss.item() == pytest.approx(expected.item()) and feature_matching(real, real) == 0
    loss.backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in fake) and all(r.grad is None for r in real)


def test_the_discriminator_is_small_bounded_and_judges_patches():
    torch.manual_seed(0)
    adversary = PatchDiscriminator()
    assert sum(p.numel() for p in adversary.parameters()) < 1e6
    verdict, features = adversary(noise(0, 2, 3, 64, 48))
    assert verdict.shape == (2, 1, 8, 6) and [f.shape[1] for f in features] == [48, 96, 192]
    for _ in range(30):  # power iteration runs in training mode
        adversary(noise(0, 1, 3, 32, 32))
    for layer in [*adversary.layers, adversary.verdict]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    # a change in one corner is no business of the patch in the other
    changed = noise(0, 2, 3, 64, 48)
    changed[..., :4, :4] = 0
    difference = (adversary.eval()(changed)[0] - adversary(noise(0, 2, 3, 64, 48))[0]).abs()
    assert difference[..., 0, 0].min() > 0 and difference[..., -1, -1].max() == 0


def test_the_discriminator_learns_to_tell_sharp_from_soft():
    torch.manual_seed(0)
    adversary = PatchDiscriminator((8, 16, 32))
    optimizer = torch.optim.Adam(adversary.parameters(), 2e-3)
    for step in range(60):
        real = noise(step, 4, 3, 32, 32)
        fake = nn.functional.avg_pool2d(real, 3, 1, 1)
        loss = hinge_discriminator(adversary(real)[0], adversary(fake)[0], torch.ones(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1  # 2 knows nothing
    assert adversary(real)[0].mean() > 0 > adversary(fake)[0].mean()


# --- steadiness ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panned():
    """(1, 3, 3, 48, 64): a textured image that moves by (2, 1) pixels a frame."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((80, 96, 3)).astype(np.float32), (0, 0), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    frames = np.stack([texture[8 - t : 56 - t, 10 - 2 * t : 74 - 2 * t] for t in range(3)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None] * 2 - 1


def test_the_flow_of_the_truth_is_found_and_trusted(panned):
    flow, trust = truth_motion(panned)
    assert flow.shape == (1, 2, 2, 48, 64) and trust.shape == (1, 2, 1, 48, 64)
    inner = flow[..., 8:-8, 8:-8]
    assert inner[0, :, 0].median() == pytest.approx(-2, abs=0.1)  # where each pixel was
    assert inner[0, :, 1].median() == pytest.approx(-1, abs=0.1)
    assert trust[..., 8:-8, 8:-8].mean() > 0.8 and trust[..., 0, 0].max() == 0  # the corner was not in the image


def test_zero_for_outputs_that_move_exactly_with_the_flow(panned):
    flow, _ = truth_motion(panned)
    frames = [noise(1, 1, 3, 48, 64)]
    for t in range(2):
        frames.append(warp_tensor(frames[-1], flow[:, t]))
    outputs = torch.stack(frames, 1)
    assert warp_consistency(outputs, panned).item() < 1e-6
    assert warp_consistency(panned, panned) == 0
    assert warp_consistency(torch.zeros_like(panned), panned) == 0


def test_flicker_costs_more_the_stronger_it_is(panned):
    flicker = noise(2, 1, 3, 3, 48, 64)
    losses = [warp_consistency(panned + s * flicker, panned).item() for s in (0, 0.1, 0.2, 0.4)]
    assert losses == sorted(losses) and losses[0] == 0 and losses[1] > 0.01
    frozen = panned[:, :1].expand_as(panned)  # steady, but not along the motion
    assert warp_consistency(frozen, panned) > 0.05


def test_the_gradient_matches_finite_differences(panned):
    truth = panned.double()
    outputs = (truth + 0.2 * noise(3, 1, 3, 3, 48, 64).double()).requires_grad_()
    warp_consistency(outputs, truth).backward()
    gradient = outputs.grad
    assert gradient is not None and (gradient.abs().amax((0, 2, 3, 4)) > 0).all()  # every frame of the clip is moved
    for seed in range(5):
        direction = torch.randn(outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        step = 1e-7
        with torch.no_grad():
            above, below = (warp_consistency(outputs + s * step * direction, truth) for s in (1, -1))
        assert ((above - below) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), rel=1e-3)


def test_half_precision_outputs_are_placed_as_exactly(panned):
    outputs = (panned + 0.2 * noise(3, 1, 3, 3, 48, 64)).bfloat16().requires_grad_()
    loss = warp_consistency(outputs, panned)
    assert loss.dtype == torch.float32 and torch.equal(loss, warp_consistency(outputs.float(), panned))
    loss.backward()
    assert outputs.grad is not None and outputs.grad.dtype == torch.bfloat16


def test_following_the_gradient_calms_flicker(panned):
    outputs = (panned + 0.3 * noise(4, 1, 3, 3, 48, 64)).requires_grad_()
    optimizer = torch.optim.Adam([outputs], 0.02)
    first = warp_consistency(outputs, panned).item()
    for _ in range(20):
        optimizer.zero_grad()
        warp_consistency(outputs, panned).backward()
        optimizer.step()
    assert warp_consistency(outputs, panned).item() < first / 2


def test_a_cut_and_an_occlusion_cost_nothing(panned):
    cut = torch.cat([panned[:, :1], noise(5, 1, 1, 3, 48, 64), noise(6, 1, 1, 3, 48, 64)], 1)
    _, trust = truth_motion(cut)
    assert trust.mean() < 0.1
    covered = panned.clone()
    covered[:, 1:, :, 16:32, 24:40] = 1  # a white square that was not there before
    outputs = covered.clone()
    outputs[:, 1, :, 18:30, 26:38] -= 0.5  # whatever the output shows behind it
    assert warp_consistency(outputs[:, :2], covered[:, :2]) < 0.1 * warp_consistency(outputs[:, :2], panned[:, :2])


def test_the_torch_warp_is_the_one_of_the_flow_module(panned):
    flow = noise(7, 1, 2, 48, 64) * 3
    ours = warp_tensor(panned[:, 0], flow)[0].permute(1, 2, 0).numpy()
    theirs = flow_warp(np.ascontiguousarray(panned[0, 0].permute(1, 2, 0).numpy()), flow[0].permute(1, 2, 0).numpy())
    assert np.abs(ours - theirs)[6:-6, 6:-6].max() < 0.03  # OpenCV looks up at 1/32 pixel


def test_wrong_shapes_are_refused():
    for outputs, truth in [((1, 3, 3, 32, 32), (1, 2, 3, 32, 32)), ((1, 1, 3, 32, 32), (1, 1, 3, 32, 32))]:
        with pytest.raises(ValueError, match="at least 2"):
            warp_consistency(torch.zeros(outputs), torch.zeros(truth))
