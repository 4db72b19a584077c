"""Latent VSD: the properties of its parts. The published code's numbers are in tests/oracle."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from image_core.lora import unet_targets
from train.losses import vsd
from train.networks.adapters import adapters_below, adapters_off
from train.schedule import alpha_bars


@pytest.fixture
def unet(tiny_base):
    return UNet2DConditionModel.from_pretrained(tiny_base / "unet")


def inputs(batch=2):
    draw = torch.Generator().manual_seed(0)
    shapes = ((batch, 4, 8, 8), (batch, 4, 8, 8), (batch, 7, 32))
    return *(torch.randn(shape, generator=draw) for shape in shapes), torch.tensor([30, 700])[:batch]


def move_critic(score):
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in score.parameters() if p.requires_grad):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))


def test_one_unet_with_adapters_switched_equals_two(unet):
    one, two = vsd.Score(copy.deepcopy(unet), shared=True), vsd.Score(unet, shared=False)
    for score in (one, two):
        draw = torch.Generator().manual_seed(2)
        for weight in (p for p in score.parameters() if p.requires_grad):
            weight.data = torch.randn(weight.shape, generator=draw) * 0.1
    noisy, _, embedding, timesteps = inputs()
    assert sum(p.numel() for p in one.parameters()) < 0.6 * sum(p.numel() for p in two.parameters())
    for adapted in (True, False, True):
        results = [score(noisy, timesteps, embedding, adapted=adapted) for score in (one, two)]
        assert torch.equal(*results)
    assert all(p.requires_grad == ("lora" in name) for name, p in one.named_parameters())


def test_a_critic_that_agrees_with_the_teacher_gives_no_push(unet):
    """Before its first step the critic is the teacher, since B starts at zero; without guidance nothing is left."""
    score = vsd.Score(unet)
    latent, noise, embedding, timesteps = inputs()
    settings = {
        "noise": noise,
        "timesteps": timesteps,
        "alpha_bars": alpha_bars(),
        "embedding": embedding,
        "negative": embedding,
    }
    assert vsd.generator_loss(score, latent, guidance=1, **settings) == 0
    move_critic(score)
    assert vsd.generator_loss(score, latent, guidance=1, **settings) > 1e-3


def test_guidance_leads_away_from_the_negative_prompt(unet):
    score = vsd.Score(unet)
    noisy, _, embedding, timesteps = inputs()
    negative = -embedding
    with torch.no_grad(), adapters_off(score.unet):
        towards, away = (unet(noisy, timesteps, words).sample for words in (embedding, negative))
    result = vsd.guided(score, noisy, timesteps, embedding, negative, 7.5).detach()
    assert torch.allclose(result, away + 7.5 * (towards - away), atol=1e-5)


def test_noise_goes_in_and_out_and_the_weight_stays_finite():
    latent, noise, _, timesteps = inputs()
    share = alpha_bars()[timesteps]
    assert torch.allclose(vsd.remove_noise(vsd.add_noise(latent, noise, share), noise, share), latent, atol=1e-4)
    assert torch.isfinite(vsd.distillation_gradient(latent, latent, latent + 1)).all()
    gradient = vsd.distillation_gradient(latent, torch.zeros_like(latent), noise)
    assert torch.allclose(gradient[1], noise[1] / latent[1].abs().mean())
    live = latent.clone().requires_grad_()
    vsd.loss_of_gradient(live, gradient).backward()
    assert torch.allclose(live.grad, 2 * gradient / latent.numel())


def test_the_published_critic_trains_its_middle_block_alone(unet):
    others = set(unet_targets(unet)["others"])
    score = vsd.Score(unet, "mid")
    assert set(adapters_below(score.state_dict(), "unet.").pairs) == others
    latent, noise, embedding, timesteps = inputs()
    loss = vsd.critic_loss(
        score, latent, noise=noise, timesteps=timesteps, alpha_bars=alpha_bars(), embedding=embedding
    )
    loss.backward()
    moved = {
        name.partition(".lora_")[0].removeprefix("unet.") for name, p in score.named_parameters() if p.grad is not None
    }
    assert moved == others


def test_a_critic_step_lowers_its_loss_and_leaves_the_teacher(unet):
    score = vsd.Score(unet)
    latent, noise, embedding, timesteps = inputs()
    settings = {"noise": noise, "timesteps": timesteps, "alpha_bars": alpha_bars(), "embedding": embedding}
    optimizer = torch.optim.AdamW((p for p in score.parameters() if p.requires_grad), 1e-3)
    with torch.no_grad():
        before = score(latent, timesteps, embedding, adapted=False)
    losses = []
    for _ in range(5):
        losses.append(vsd.critic_loss(score, latent, **settings))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    with torch.no_grad():
        assert torch.equal(before, score(latent, timesteps, embedding, adapted=False))
    teacher = F.mse_loss(
        score(vsd.add_noise(latent, noise, alpha_bars()[timesteps]), timesteps, embedding, adapted=False), noise
    )
    assert losses[-1] < teacher
