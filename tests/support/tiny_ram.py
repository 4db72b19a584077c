"""A tiny random tagger in the published layout: ram_swin_large_14m.pth, its two lists beside it, and DAPE.pth.

The numbers come from NumPy's generator, whose stream is fixed, so that golden values hold on every machine.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from image_core.prompts.tagger import TAG_LIST, THRESHOLDS
from tests.support.media_files import sample_image

WEIGHTS, ADAPTERS = "ram_swin_large_14m.pth", "DAPE.pth"
EMBED, DEPTHS, HEADS, WINDOW = 16, (2, 2, 2, 2), (1, 2, 4, 8), 12
LABEL, HIDDEN, WIDE, LAYERS, RANK = 64, 48, 96, 2, 2
TAGS = (
    "3D print, river bank, oak, red kite, bus stop, Lamp post, café table, Norse ship, fog, snow, grass, "
    "tile roof, brick wall, hand, wheel, boat, kitchen sink, cat, dog, stone bridge, tree trunk, cloud, "
    "blue sky, night, sand, rope, X-ray image, moss, door, window frame, train, field, sign, bike rack, "
    "hill, road, T shirt, zinc pan, harp, face"
)
NAMES = tuple(TAGS.split(", "))
THRESHOLD_TEXT = (
    "0.34 0.643 0.323 0.05 0.382 0.653 0.33 0.09 0.328 0.628 0.343 0.107 0.268 0.56 0.333 0.061 0.335 "
    "0.501 0.321 0.107 0.4 0.412 0.297 0.087 0.268 0.411 0.316 0.082 0.339 0.578 0.263 0.062 0.231 0.628 "
    "0.278 0.063 0.257 0.587 0.293 0.084"
)
LIMITS = tuple(map(float, THRESHOLD_TEXT.split()))
"""Between what the images of the tests score, so that each has tags of its own."""

IMAGES = (
    sample_image(0, 64, 64),
    np.full((64, 64, 3), 90, np.uint8),
    sample_image(7, 96, 160),
    np.random.default_rng(3).integers(0, 256, (128, 96, 3), dtype=np.uint8),
)

HEAD, SWIN = "tagging_head.encoder.layer", "visual_encoder"


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the tagger needs, in the published order."""
    sizes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, width: int, inputs: int, *kernel: int) -> None:
        sizes[f"{name}.weight"], sizes[f"{name}.bias"] = (width, inputs, *kernel), (width,)

    def norm(name: str, width: int) -> None:
        sizes[f"{name}.weight"] = sizes[f"{name}.bias"] = (width,)

    linear(f"{SWIN}.patch_embed.proj", EMBED, 3, 4, 4)
    norm(f"{SWIN}.patch_embed.norm", EMBED)
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        width = EMBED << stage
        for number in range(depth):
            block = f"{SWIN}.layers.{stage}.blocks.{number}"
            norm(f"{block}.norm1", width)
            linear(f"{block}.attn.qkv", 3 * width, width)
            sizes[f"{block}.attn.relative_position_bias_table"] = ((2 * WINDOW - 1) ** 2, heads)
            linear(f"{block}.attn.proj", width, width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.mlp.fc1", 4 * width, width)
            linear(f"{block}.mlp.fc2", width, 4 * width)
        if stage + 1 < len(DEPTHS):
            sizes[f"{SWIN}.layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            norm(f"{SWIN}.layers.{stage}.downsample.norm", 4 * width)
    norm(f"{SWIN}.norm", EMBED << 3)
    linear("image_proj", LABEL, EMBED << 3)
    sizes["label_embed"] = (len(NAMES), LABEL)
    linear("wordvec_proj", HIDDEN, LABEL)
    for layer in range(LAYERS):
        for name, inputs in (("query", HIDDEN), ("key", LABEL), ("value", LABEL)):
            linear(f"{HEAD}.{layer}.crossattention.self.{name}", HIDDEN, inputs)
        linear(f"{HEAD}.{layer}.crossattention.output.dense", HIDDEN, HIDDEN)
        norm(f"{HEAD}.{layer}.crossattention.output.LayerNorm", HIDDEN)
        linear(f"{HEAD}.{layer}.intermediate.dense", WIDE, HIDDEN)
        linear(f"{HEAD}.{layer}.output.dense", HIDDEN, WIDE)
        norm(f"{HEAD}.{layer}.output.LayerNorm", HIDDEN)
    linear("fc", 1, HIDDEN)
    return sizes


def draw(sizes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random tensors that keep the size of signals: norms near one, layers by their inputs."""
    rng, drawn = np.random.default_rng(seed), {}
    for name, shape in sizes.items():
        values = rng.standard_normal(shape)
        if re.search(r"(?i)norm\d?\.weight$", name):
            values = 1 + 0.2 * values
        elif name.endswith(("bias", "table")):
            values = 0.1 * values
        else:
            gain = 4 if name.startswith(("label_embed", "wordvec_proj")) else 1.4  # tags are to differ
            values = gain * values / np.sqrt(np.prod(shape[1:]))
        drawn[name] = torch.from_numpy(values.astype(np.float32))
    return drawn


def adapter_shapes() -> dict[str, tuple[int, ...]]:
    """Of DAPE: queries and values of each block of the Swin, queries and keys of the head."""
    sizes: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes().items():
        if name.endswith("attn.qkv.weight"):
            sizes[name.replace("weight", "lora_A")] = (2 * RANK, shape[1])
            sizes[name.replace("weight", "lora_B")] = (2 * shape[0] // 3, RANK)
        elif re.search(r"self\.(query|key)\.weight$", name):
            sizes[name.replace("weight", "lora_A")] = (RANK, shape[1])
            sizes[name.replace("weight", "lora_B")] = (shape[0], RANK)
    return sizes


def write_ram(folder: Path) -> Path:
    """Write the four files into `folder`."""
    torch.save({"model": draw(shapes(), 1), "epoch": 1}, folder / WEIGHTS)
    adapters = draw(adapter_shapes(), 2)
    # a weight of the captioning part, tied to the head, which training leaves at zero
    adapters["tag_encoder.encoder.layer.0.crossattention.self.query.lora_B"] = torch.zeros(HIDDEN, RANK)
    torch.save(adapters, folder / ADAPTERS)
    (folder / TAG_LIST).write_text("\n".join(NAMES), encoding="utf-8")
    (folder / THRESHOLDS).write_text("\n".join(map(repr, LIMITS)))
    return folder
