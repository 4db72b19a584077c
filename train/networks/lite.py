"""Build the embedded model: a one-step generator of the OSEDiff kind that is small enough to train from scratch."""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX, LiteAutoencoder, LiteAutoencoderConfig
from image_core.generator import Generator
from train.config import LiteShape
from train.schedule import alpha_bar


def build_generator(config: LiteShape) -> Generator:
    """Build a generator with random weights whose noise prediction starts at zero."""
    autoencoder = LiteAutoencoder(
        LiteAutoencoderConfig(
            config.latent_channels,
            config.encoder_width,
            config.encoder_blocks,
            config.decoder_width,
            config.decoder_blocks,
        )
    )
    return Generator(autoencoder, build_unet(config), alpha_bar(config.timestep), config.timestep)


def build_unet(config: LiteShape) -> UNet2DConditionModel:
    """Build the UNet of generator and prior, with random weights, whose noise prediction starts at zero."""
    depth = len(config.widths)
    unet = UNet2DConditionModel(
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.widths,
        down_block_types=("DownBlock2D",) * depth,
        up_block_types=("UpBlock2D",) * depth,  # attention in the middle block only
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=8,
        cross_attention_dim=config.prompt_width,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


def block_basis(images: Sequence[Tensor], channels: int, count: int = 40_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Compute whitened principal components of the 8 x 8 blocks of images, `count` blocks in all.

    images: each (3, H, W) in [-1, 1]. Returns the basis (channels, 192), scaled to unit variance of the latent, and
    the mean block (192,), both in the order of pixel_unshuffle.
    """
    draw = torch.Generator().manual_seed(seed)
    share = max(1, count // len(images))
    drawn = []
    for image in images:
        height, width = (side // LATENT_PX * LATENT_PX for side in image.shape[-2:])
        blocks = F.pixel_unshuffle(image[None, :, :height, :width], LATENT_PX)[0].flatten(1).T
        drawn.append(blocks[torch.randperm(len(blocks), generator=draw)[:share]])
    blocks = torch.cat(drawn).double()
    mean = blocks.mean(0)
    values, vectors = torch.linalg.eigh((blocks - mean).T @ (blocks - mean) / len(blocks))
    top = values.argsort(descending=True)[:channels]
    basis = vectors[:, top].T / values[top].sqrt()[:, None]
    return basis.float(), mean.float()


class BlockLatent(nn.Module):
    """Compute the clean latent that the generator aims at: the whitened principal components of each 8 x 8 block."""

    def __init__(self, basis: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", basis[:, :, None, None])
        self.register_buffer("bias", -(basis @ mean))
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        image: (B, 3, H, W) in [-1, 1]. Returns (B, C, H/8, W/8).
        """
        return F.conv2d(F.pixel_unshuffle(image, LATENT_PX), self.weight, self.bias)


def start_from_blocks(generator: Generator, target: BlockLatent) -> None:
    """Let the untrained generator pass the block latent through: encode it scaled as if noise were to be removed."""
    autoencoder = generator.autoencoder
    assert isinstance(autoencoder, LiteAutoencoder)
    shrink = alpha_bar(generator.timestep) ** 0.5  # undone by the division in the one step
    with torch.no_grad():
        autoencoder.projection.weight.copy_(target.weight * shrink)
        autoencoder.projection.bias.copy_(target.bias * shrink)  # type: ignore[union-attr]
    last = autoencoder.encoder[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
