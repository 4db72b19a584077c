"""A tiny random model of the embedded kind, and upscalers around it."""

import numpy as np
import torch

from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from train.config import LiteShape
from train.networks.lite import build_generator

TINY = LiteShape(
    latent_channels=8,
    encoder_width=8,
    encoder_blocks=1,
    decoder_width=8,
    decoder_blocks=1,
    widths=(16, 32),
    prompt_width=8,
)


def random_generator():
    torch.manual_seed(0)
    generator = build_generator(TINY).eval()
    for parameter in generator.parameters():  # nothing zero, so that every layer matters
        torch.nn.init.normal_(parameter, std=0.05)
    return generator


def upscaler(generator, **options):
    return Upscaler(generator, torch.zeros(1, 1, 8), UpscaleOptions(**options), bytes_per_pixel=600)


def sample_images(count, height, width, dtype=np.uint8):
    return list(np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (count, height, width, 3), dtype=dtype))
