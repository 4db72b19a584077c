"""One generator step of the full model against the authors' own code, on the tiny random base of ../shared/oracle.

The oracle did not keep what VSD drew in this step. Its gradient on the latents is taken from golden/step_gradient.npy
(made beside it); how VSD computes one from its draws is compared in test_vsd.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from image_core.images import to_tensor
from train.config import Sd21Config
from train.losses.vsd import loss_of_gradient
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
