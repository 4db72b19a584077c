"""Train a small KL autoencoder for minutes and write it as a model: a stand-in for that of Stable Diffusion.

python -m benchmarks.steadiness.stand_in IMAGES BUNDLE [--minutes 10]

Its latents are learned, with four channels at an eighth of the size, as those of Stable Diffusion are, and unlike the
block latents of the embedded model: so that what happens in a latent can be measured on one of the kind. The UNet
predicts no noise: the model restores nothing, it only passes images through the latent.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional as F

from image_core.bundle import BundleConfig
from image_core.generator import KLAutoencoder
from image_core.images import to_tensor
from image_core.models.write_bundle import write_bundle
from train.data.files import list_images, read_training_image

BATCH, CROP_PX, KL_WEIGHT = 8, 128, 1e-6


def train(folder: Path, minutes: float) -> tuple[AutoencoderKL, float]:
    """The autoencoder and the standard deviation of its latents."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(24, 48, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), 1e-3)
    images = [read_training_image(path) for path in list_images(folder)]
    draw = torch.Generator().manual_seed(0)
    started, step, spread = time.monotonic(), 0, 1.0
    while (share := (time.monotonic() - started) / (60 * minutes)) < 1:
        crops = []
        for _ in range(BATCH):
            image = images[int(torch.randint(len(images), (), generator=draw))]
            top, left = (int(torch.randint(side - CROP_PX + 1, (), generator=draw)) for side in image.shape[:2])
            crops.append(image[top : top + CROP_PX, left : left + CROP_PX])
        batch = to_tensor(crops)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            result = vae.decode(posterior.sample()).sample
        loss = F.l1_loss(result.float(), batch) + KL_WEIGHT * posterior.kl().float().mean()
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, 4 * (1 - share))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        spread = float(posterior.mean.detach().float().std())
        step += 1
        if step % 100 == 0:
            print(f"step {step}  loss {float(loss.detach()):.4f}  {100 * share:.0f} %", file=sys.stderr, flush=True)
    return vae, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    vae, spread = train(arguments.images, arguments.minutes)
    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=8,
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    config = BundleConfig("stand-in", "kl", 0, 1.0, 1 / spread, "adain", ("",), "not for use", {"summary": __doc__})
    write_bundle(
        arguments.bundle, config, autoencoder=KLAutoencoder(vae, 1 / spread), unet=unet, prompts=[torch.zeros(1, 1, 8)]
    )


if __name__ == "__main__":
    main()
