"""One training step of the full model against the authors' own code, on the tiny random base of ../shared/oracle."""

import numpy as np
import pytest
import torch

from image_core.images import to_tensor
from tests.test_vsd import load_critic
from train.config import Sd21Config
from train.restorer import build_sd21
from train.schedule import alpha_bars
from train.vsd import Score, generator_loss


def our_name(key):
    """The oracle's name of a tensor in our modules."""
    name = "vae." + key.removeprefix("vae.") if key.startswith("vae.") else "unet." + key
    for adapter in ("encoder", "decoder", "others"):
        name = name.replace(f".default_{adapter}.", ".default.")
    return ("generator.autoencoder." if name.startswith("vae.") else "generator.") + name


@pytest.fixture(scope="module")
def step(shared):
    """Ours on the oracle's inputs and draws: losses, gradients, norm, and the weights after one AdamW step."""
    oracle = shared / "oracle"
    restorer = build_sd21(Sd21Config(base=str(oracle / "tiny_sd21")), str(oracle / "tiny_osediff.pkl"))
    golden = np.load(oracle / "generator/train_gen_forward.npz")
    from diffusers import UNet2DConditionModel

    score = Score(UNet2DConditionModel.from_pretrained(oracle / "tiny_sd21/unet"))
    with np.load(oracle / "tiny_reg_lora.npz") as file:
        load_critic(score, {key: torch.from_numpy(file[key]) for key in file})
    low, high = (to_tensor(list(golden[name])) for name in ("x_src_u8", "x_tgt_u8"))
    text, negative = (torch.from_numpy(golden[name]) for name in ("prompt_embeds", "neg_prompt_embeds"))
    draw = torch.Generator().manual_seed(int(golden["seed"]))
    posterior = torch.randn(2, 4, 8, 12, generator=draw)
    timesteps = torch.randint(20, 980, (2,), generator=draw)
    noise = torch.randn(2, 4, 8, 12, generator=draw)
    clean, picture = restorer(low, text, posterior)
    pixel = torch.nn.functional.mse_loss(picture, high)
    distilled = generator_loss(
        score,
        clean,
        noise=noise,
        timesteps=timesteps,
        alpha_bars=alpha_bars(),
        text=text,
        negative=negative,
        guidance=7.5,
    )
    print(pixel, distilled, (picture - torch.from_numpy(golden["x_tgt_pred"])).abs().max())
    return pixel


def test_x(step):
    pass
