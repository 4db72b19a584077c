"""VSD and one generator step of the full model against the authors' own code, on the tiny base of ../shared/oracle.

The oracle did not keep what VSD drew in this step. Its gradient on the latents is taken from golden/step_gradient.npy
(made beside it); how VSD computes one from its draws is compared below.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from image_core.images import to_tensor
from image_core.models.official import fold
from train.config import Sd21Config
from train.losses import vsd
from train.losses.vsd import loss_of_gradient
from train.schedule import alpha_bars
from train.start import build_sd21
from train.state import trainable

PREFIX = "grad:"


def our_name(key):
    """The oracle's name of a tensor in our modules."""
    for adapter in ("encoder", "decoder", "others"):
        key = key.replace(f".default_{adapter}.", ".default.")
    return f"generator.autoencoder.{key}" if key.startswith("vae.") else f"generator.unet.{key}"


def forward(oracle):
    """The oracle's inputs through our generator: it, the clean latent, the pixel loss."""
    restorer = build_sd21(Sd21Config(base=str(oracle / "tiny_sd21")), str(oracle / "tiny_osediff.pkl"))
    golden = np.load(oracle / "generator/train_gen_forward.npz")
    low, high = (to_tensor(list(golden[name])) for name in ("x_src_u8", "x_tgt_u8"))
    text, noise = (torch.from_numpy(golden[name]) for name in ("prompt_embeds", "latent_noise"))
    clean, image = restorer(low, text, noise)
    assert (image - torch.from_numpy(golden["x_tgt_pred"])).abs().max() < 3e-4  # the oracle's own, between versions
    return restorer, clean, F.mse_loss(image, high)


@pytest.fixture(scope="module")
def step(shared):
    """Gradients, their norm, and the weights after clipping and one AdamW step, by name."""
    restorer, clean, pixel = forward(shared / "oracle")
    gradient = torch.from_numpy(np.load(Path(__file__).parent.parent / "golden/step_gradient.npy"))
    distilled = loss_of_gradient(clean, gradient)
    (pixel + distilled).backward()
    weights = trainable(restorer)
    optimizer = torch.optim.AdamW(weights.values(), 5e-5, weight_decay=1e-2)
    norm = torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    optimizer.step()
    return weights, pixel.item(), distilled.item(), norm.item()


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "oracle/generator/train_gen_step.npz")


def test_losses_and_the_norm_of_all_gradients(step, golden):
    _, pixel, distilled, norm = step
    assert abs(pixel - float(golden["loss_l2"])) < 1e-6
    assert abs(distilled - float(golden["loss_kl"])) < 1e-5
    assert norm == pytest.approx(float(golden["total_grad_norm_before_clip"]), rel=1e-5)


def test_gradients_after_clipping(step, golden):
    weights = step[0]
    for key in (key for key in golden if key.startswith(PREFIX)):
        result, expected = weights[our_name(key.removeprefix(PREFIX))].grad, torch.from_numpy(golden[key])
        assert (result - expected).abs().max() < 1e-4 * expected.abs().max(), key  # float32; 1.1e-5 and 6e-5 seen


def test_the_first_step(step, golden):
    """Adam's first step is the sign of the gradient: where that is tiny, the last bit may decide."""
    for key in (key for key in golden if key.startswith("after_step:")):
        result, expected = step[0][our_name(key.removeprefix("after_step:"))], torch.from_numpy(golden[key])
        apart = (result - expected).abs()
        assert (apart < 1e-7).float().mean() > 0.99 and apart.max() < 2e-6, key


def test_what_learns_in_the_full_model(shared):
    """LoRA of UNet and VAE encoder, and conv_in; nothing else, nothing twice."""
    restorer = build_sd21(Sd21Config(base=str(shared / "oracle/tiny_sd21")))
    names = trainable(restorer)
    whole = {name for name in names if ".lora_" not in name}
    assert whole == {f"generator.unet.conv_in.base_layer.{part}" for part in ("weight", "bias")}
    published = torch.load(shared / "oracle/tiny_osediff.pkl", weights_only=True)
    expected = [*published["state_dict_unet"], *(f"vae.{key}" for key in published["state_dict_vae"])]
    assert names.keys() == {our_name(key) for key in expected}
    assert all(not p.any() for name, p in names.items() if "lora_B" in name)


def load_critic(score, tensors):
    """Put the oracle's three adapters into the one adapter of `score`."""
    state = {
        f"{layer}.lora_{letter}.default.weight": weight
        for layer, pair in fold(tensors, "the oracle").items()
        for letter, weight in pair.items()
    }
    missing = score.unet.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and not [key for key in missing.missing_keys if "lora" in key]


@pytest.fixture(scope="module")
def oracle(shared):
    with np.load(shared / "oracle/generator/reg_losses_all_adapters.npz") as file:
        return {k: torch.from_numpy(v) if v.dtype != object and v.dtype.kind in "fi" else v for k, v in file.items()}


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "two"])
def score(shared, request):
    base = UNet2DConditionModel.from_pretrained(shared / "oracle/tiny_sd21/unet")
    score = vsd.Score(base, "all", shared=request.param)
    with np.load(shared / "oracle/tiny_reg_lora.npz") as file:
        load_critic(score, {key: torch.from_numpy(file[key]) for key in file})
    return score


def test_generator_loss_and_its_gradient_are_the_published_ones(oracle, score):
    latent = oracle["latents"].clone().requires_grad_()
    loss = vsd.generator_loss(
        score,
        latent,
        noise=oracle["dm_noise"],
        timesteps=oracle["dm_timesteps"],
        alpha_bars=alpha_bars(),
        embedding=oracle["prompt_embeds"],
        negative=oracle["neg_prompt_embeds"],
        guidance=7.5,
    )
    loss.backward()
    assert abs(loss.item() - float(oracle["dm_loss"])) < 1e-6
    assert (latent.grad - oracle["dm_grad_latents"]).abs().max() < 1e-7
    assert all(p.grad is None for p in score.parameters())


def test_critic_loss_and_its_gradients_are_the_published_ones(oracle, score):
    latent = oracle["latents"].clone().requires_grad_()
    loss = vsd.critic_loss(
        score,
        latent,
        noise=oracle["diff_noise"],
        timesteps=oracle["diff_timesteps"],
        alpha_bars=alpha_bars(),
        embedding=oracle["prompt_embeds"],
    )
    loss.backward()
    assert abs(loss.item() - float(oracle["diff_loss"])) < 1e-6 and latent.grad is None
    parameters = dict(score.unet.named_parameters())
    for key in (key for key in oracle if key.startswith("diff_grad:")):
        layer, _, rest = key.removeprefix("diff_grad:").partition(".lora_")
        result = parameters[f"{layer}.lora_{rest[0]}.default.weight"].grad
        assert (result - oracle[key]).abs().max() < 1e-6, key
    score.zero_grad(set_to_none=True)
