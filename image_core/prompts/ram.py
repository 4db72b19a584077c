"""Read the published files of the tagger: `ram_swin_large_14m.pth`, and the adapters `DAPE.pth` for degraded images."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from image_core.architecture import first_line
from image_core.errors import CheckpointError
from image_core.prompts.tagger import Tagger, TaggerConfig, build_tagger
from image_core.storage.tensors import plain_tensors, read_torch

ADAPTER_SCALE = 1 / 8
"""Of the adapters: alpha 1 over rank 8, in the published code; the file does not store it."""

HEAD = "tagging_head.encoder.layer."
NEEDED = ("visual_encoder.", "image_proj.", "label_embed", "wordvec_proj.", "tagging_head.", "fc.")
COMPUTED = ("relative_position_index", "attn_mask")
HEAD_PARTS = {
    "crossattention.self.query.weight": "attention.q_proj_weight",
    "crossattention.self.key.weight": "attention.k_proj_weight",
    "crossattention.self.value.weight": "attention.v_proj_weight",
    "crossattention.output.dense": "attention.out_proj",
    "crossattention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "widen",
    "output.dense": "narrow",
    "output.LayerNorm": "norm",
}


def read_ram(weights: Path, dape: Path | None = None) -> Tagger:
    """Load the tagger in float32, from RAM's checkpoint and, unless None, DAPE's adapters, folded in.

    The tag list and the thresholds must lie beside `weights`. Nothing in the files is run. Raises CheckpointError for
    missing or foreign tensors, and for lists that do not fit.
    """
    content = read_torch(weights)
    tensors = plain_tensors(content.get("model", content), str(weights))
    if "reweight_scale" in tensors:
        raise CheckpointError(f"{weights}: this is RAM++; the tagger of the paper is ram_swin_large_14m.pth")
    needed = {}
    for key, tensor in tensors.items():
        name = key.replace("vision_multi.", "tagging_head.", 1) if key.startswith("vision_multi.") else key
        if name.startswith(NEEDED) and not name.endswith(COMPUTED) and ".lora_" not in name:
            needed[name] = tensor
    config = geometry(needed, weights)
    try:
        if dape is not None:
            adapters = read_torch(dape)
            if "model" in adapters:
                raise CheckpointError(f"{dape}: this is RAM itself, give it as the tagger; expected DAPE.pth")
            fold_dape(needed, plain_tensors(adapters, str(dape), least=0), dape)
        renamed = renamed_tensors(needed, config, weights)
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(f"{dape or weights}: its tensors do not fit together: {first_line(error)}") from error
    return build_tagger(config, renamed, weights.parent, weights)


def geometry(tensors: Mapping[str, Tensor], where: Path) -> TaggerConfig:
    """Read off the tensors' shapes. Raises CheckpointError when one that is needed is missing."""

    def shape(key: str, *expected: int) -> tuple[int, ...]:
        if key not in tensors:
            raise CheckpointError(f"{where}: tensor {key} is missing; is this ram_swin_large_14m.pth?")
        found = tuple(tensors[key].shape)
        if len(found) not in expected or 0 in found:
            raise CheckpointError(f"{where}: {key} has shape {found}; is this ram_swin_large_14m.pth?")
        return found

    blocks: dict[int, int] = {}
    for key in tensors:
        if found := re.match(r"visual_encoder\.layers\.(\d{1,3})\.blocks\.(\d{1,3})\.", key):
            blocks[int(found[1])] = max(blocks.get(int(found[1]), 0), int(found[2]) + 1)
    stages = range(len(blocks))
    bias = "visual_encoder.layers.{}.blocks.0.attn.relative_position_bias_table"
    layers = {key.removeprefix(HEAD).split(".")[0] for key in tensors if key.startswith(HEAD)}
    tags, label_dim = shape("label_embed", 2)
    return TaggerConfig(
        tags=tags,
        embed_dim=shape("visual_encoder.patch_embed.proj.weight", 4)[0],
        depths=tuple(blocks.get(stage, 0) for stage in stages),
        heads=tuple(shape(bias.format(stage), 2)[1] for stage in stages),
        window=round((shape(bias.format(0), 2)[0] ** 0.5 + 1) / 2),
        label_dim=label_dim,
        hidden=shape("wordvec_proj.weight", 2)[0],
        feed_forward=shape(f"{HEAD}0.intermediate.dense.weight", 2)[0],
        layers=len(layers),
    )


def renamed_tensors(tensors: dict[str, Tensor], config: TaggerConfig, where: Path) -> dict[str, Tensor]:
    """Rename tensors from the published names to ours, which are timm's for the Swin.

    Raises CheckpointError for a missing bias.
    """
    result = {}
    for key, tensor in tensors.items():
        if key.startswith(HEAD):
            number, _, part = key.removeprefix(HEAD).partition(".")
            if not part.startswith("crossattention.self.") or part.endswith("weight"):
                for old, new in HEAD_PARTS.items():
                    if part.startswith(old):
                        result[f"layers.{number}.{new}{part.removeprefix(old)}"] = tensor
        else:
            # timm counts a downsampling to the stage it leads into, the published code to the one it ends
            stage = re.match(r"visual_encoder\.layers\.(\d+)\.downsample\.(.+)", key)
            result[f"visual_encoder.layers.{int(stage[1]) + 1}.downsample.{stage[2]}" if stage else key] = tensor
    for layer in range(config.layers):
        keys = [f"{HEAD}{layer}.crossattention.self.{name}.bias" for name in ("query", "key", "value")]
        for key in keys:
            if key not in tensors:
                raise CheckpointError(f"{where}: tensor {key} is missing")
        result[f"layers.{layer}.attention.in_proj_bias"] = torch.cat([tensors[key] for key in keys])
    return result


def fold_dape(tensors: dict[str, Tensor], adapters: dict[str, Any], where: Path) -> None:
    """Add the adapters to the weights in place. Raises CheckpointError unless every one that is needed is there.

    In the Swin they change queries and values of each block, in the head queries and keys. Those of the captioning
    parts are not needed; two of them were tied to the head and must be zero, as training leaves them.
    """
    targets = [key for key in tensors if key.endswith("attn.qkv.weight")]
    targets += [key for key in tensors if re.search(r"crossattention\.self\.(query|key)\.weight$", key)]
    pairs = {key: [f"{key.removesuffix('weight')}lora_{letter}" for letter in "AB"] for key in targets}
    missing = [name for names in pairs.values() for name in names if name not in adapters]
    if missing:
        count = f"{len(missing)} of {2 * len(pairs)}"
        raise CheckpointError(f"{where}: {count} adapters are missing (first: {missing[0]}); is this DAPE.pth?")
    for key, (name_a, name_b) in pairs.items():
        a, b, weight = adapters[name_a].float(), adapters[name_b].float(), tensors[key].to(torch.float32, copy=True)
        tensors[key] = weight
        qkv = key.endswith("attn.qkv.weight")
        width = weight.shape[0] // 3 if qkv else weight.shape[0]
        rank = len(a) // 2 if qkv else len(a)
        expected = ((2 * rank, weight.shape[1]), (2 * width, rank)) if qkv else ((rank, weight.shape[1]), (width, rank))
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise CheckpointError(
                f"{where}: {name_a} and its twin have shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                f"expected {expected[0]} and {expected[1]}"
            )
        weight[:width] += ADAPTER_SCALE * b[:width] @ a[:rank]
        if qkv:
            weight[2 * width :] += ADAPTER_SCALE * b[width:] @ a[rank:]
    check_tied(tensors, adapters, where)


def check_tied(tensors: Mapping[str, Tensor], adapters: Mapping[str, Any], where: Path) -> None:
    """Raise CheckpointError when an adapter that we leave out would have changed the head through a tied weight."""
    for key in tensors:
        if key.startswith(HEAD) and key.endswith(".weight"):
            twin = f"tag_encoder.{key.removeprefix('tagging_head.').removesuffix('weight')}lora_B"
            if twin in adapters and bool(adapters[twin].any()):
                raise CheckpointError(
                    f"{where}: {twin} is not zero; the published code would add it to the tied weight {key}, "
                    "which no published DAPE.pth asks for"
                )
