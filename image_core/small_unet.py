"""Define the UNet of the embedded model in plain torch: keys, settings and results of diffusers' UNet2DConditionModel.

Importing diffusers takes longer than upscaling a short clip. This covers the one shape that small models have: plain
blocks of residual layers, and attention in the middle block only. Any other is built by diffusers itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST_PERIOD = 10_000
TRANSFORMER_EPS = 1e-6
REQUIRED: Mapping[str, Any] = {
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "mid_block_scale_factor": 1,
    "dropout": 0.0,
    "act_fn": "silu",
    "transformer_layers_per_block": 1,
    "num_attention_heads": None,
    "use_linear_projection": False,
    "upcast_attention": False,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
}
"""Settings that have this value here, which is also diffusers' default."""


@dataclass(frozen=True)
class SmallUNetConfig:
    """Hold the settings that differ between small UNets, under diffusers' names.

    attention_head_dim: number of heads, as diffusers misnames it.
    """

    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    sample_size: Any = None
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int = 1280
    attention_head_dim: int = 8

    def __post_init__(self) -> None:
        if not len(self.down_block_types) == len(self.up_block_types) == len(self.block_out_channels):
            raise ValueError("down_block_types, up_block_types and block_out_channels must be equally long")
        if self.attention_head_dim > self.block_out_channels[-1]:
            raise ValueError(f"{self.attention_head_dim} heads are more than {self.block_out_channels[-1]} channels")


def is_small(settings: Mapping[str, Any]) -> bool:
    """Return whether `SmallUNet` computes what diffusers' UNet of these settings computes. They may hold anything."""
    plain = all(
        isinstance(kinds := settings.get(name), list) and set(map(str, kinds)) == {kind}
        for name, kind in (("down_block_types", "DownBlock2D"), ("up_block_types", "UpBlock2D"))
    )
    single = not any(isinstance(settings.get(name), list) for name in ("layers_per_block", "attention_head_dim"))
    return plain and single and all(settings.get(name, value) == value for name, value in REQUIRED.items())


class Predicted(NamedTuple):
    """Hold what a UNet returns. sample: the noise it predicts, like its input."""

    sample: Tensor


class SmallUNet(nn.Module):
    """Predict the noise in a latent."""

    def __init__(self, config: SmallUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, layers, first = config.block_out_channels, config.layers_per_block, config.block_out_channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first, 4 * first)
        down: list[nn.Module] = []
        for index, width in enumerate(widths):
            inputs = [widths[max(0, index - 1)], *[width] * (layers - 1)]
            is_last = index == len(widths) - 1
            down.append(DownBlock(config, inputs, width, None if is_last else nn.Conv2d(width, width, 3, 2, 1)))
        up: list[nn.Module] = []
        for index, width in reversed(list(enumerate(widths))):
            below, beside = widths[min(index + 1, len(widths) - 1)], widths[max(0, index - 1)]
            # features from below or the last layer, beside those of the way down
            inputs = [below + width, *[2 * width] * (layers - 1), width + beside]
            up.append(UpBlock(config, inputs, width, None if index == 0 else nn.Conv2d(width, width, 3, padding=1)))
        self.down_blocks, self.up_blocks = nn.ModuleList(down), nn.ModuleList(up)
        self.mid_block = MiddleBlock(config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, first, config.norm_eps)
        self.conv_out: nn.Module = nn.Conv2d(first, config.out_channels, 3, padding=1)

    def forward(self, latent: Tensor, timestep: int, text: Tensor) -> Predicted:
        """Predict the noise. latent: (B, C, h, w). text: (B, L, D). Returns (B, C, h, w) as `sample`."""
        steps = torch.full((len(latent),), timestep, device=latent.device)
        time = self.time_embedding(wave_embedding(steps, self.config.block_out_channels[0]).to(latent.dtype))
        x = self.conv_in(latent)
        skips = [x]
        for block in self.down_blocks:
            skips += block(skips[-1], time)
        x = self.mid_block(skips[-1], time, text)
        for block in self.up_blocks:
            x = block(x, skips, time)
        return Predicted(self.conv_out(F.silu(self.conv_norm_out(x), inplace=True)))


class TimeEmbedding(nn.Module):
    """Turn waves of the timestep, (B, width), into what conditions every layer, (B, out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, out), nn.Linear(out, out)

    def forward(self, waves: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(waves)))


def wave_embedding(steps: Tensor, width: int) -> Tensor:
    """Return cosines and sines of each timestep in falling frequency, (B) to (B, width), float32."""
    half = width // 2
    exponent = -math.log(LONGEST_PERIOD) * torch.arange(half, dtype=torch.float32, device=steps.device) / half
    phase = steps[:, None].float() * torch.exp(exponent)
    return F.pad(torch.cat([phase.cos(), phase.sin()], dim=-1), (0, width % 2))


class ResidualLayer(nn.Module):
    """Add two normalized convolutions, conditioned on the timestep, to the input."""

    def __init__(self, config: SmallUNetConfig, width: int, out: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.norm_num_groups, width, config.norm_eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(4 * config.block_out_channels[0], out)
        self.norm2 = nn.GroupNorm(config.norm_num_groups, out, config.norm_eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = None if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        features = self.conv1(F.silu(self.norm1(x), inplace=True))
        features += self.time_emb_proj(F.silu(time))[:, :, None, None]
        features = self.conv2(F.silu(self.norm2(features), inplace=True))
        return features.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


class DownBlock(nn.Module):
    """Run residual layers and halve the grid. inputs: width that each layer reads."""

    def __init__(self, config: SmallUNetConfig, inputs: list[int], width: int, halving: nn.Conv2d | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualLayer(config, into, width) for into in inputs)
        self.downsamplers = nn.ModuleList([] if halving is None else [nn.ModuleDict({"conv": halving})])

    def forward(self, x: Tensor, time: Tensor) -> list[Tensor]:
        """Return the output of each layer and of the halving."""
        results = [x]
        for layer in self.resnets:
            results.append(layer(results[-1], time))
        for halving in self.downsamplers:
            results.append(halving["conv"](results[-1]))  # type: ignore[index]
        return results[1:]


class UpBlock(nn.Module):
    """Run residual layers on features joined with those of the way down, and double the grid."""

    def __init__(self, config: SmallUNetConfig, inputs: list[int], width: int, smoothing: nn.Conv2d | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualLayer(config, into, width) for into in inputs)
        self.upsamplers = nn.ModuleList([] if smoothing is None else [nn.ModuleDict({"conv": smoothing})])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """Return the features. skips: of the way down; the last of them are removed."""
        for layer in self.resnets:
            x = layer(torch.cat([x, skips.pop()], dim=1), time)
        for smoothing in self.upsamplers:
            # to the size of the way down: of an odd grid half is rounded up
            doubled = F.interpolate(x, size=skips[-1].shape[-2:], mode="nearest")
            x = smoothing["conv"](doubled)  # type: ignore[index]
        return x


class MiddleBlock(nn.Module):
    """Let all positions attend to each other and to the text, between two residual layers."""

    def __init__(self, config: SmallUNetConfig) -> None:
        super().__init__()
        width = config.block_out_channels[-1]
        self.attentions = nn.ModuleList([Transformer(config, width)])
        self.resnets = nn.ModuleList(ResidualLayer(config, width, width) for _ in range(2))

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, time), text), time)


class Transformer(nn.Module):
    """Run one transformer block over the positions of a grid and add the result."""

    def __init__(self, config: SmallUNetConfig, width: int) -> None:
        super().__init__()
        heads = config.attention_head_dim
        inner = width // heads * heads
        self.norm = nn.GroupNorm(config.norm_num_groups, width, TRANSFORMER_EPS)
        self.proj_in = nn.Conv2d(width, inner, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(inner, heads, config.cross_attention_dim)])
        self.proj_out = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        grid = self.proj_in(self.norm(x))
        batch, inner, height, width = grid.shape
        tokens = self.transformer_blocks[0](grid.permute(0, 2, 3, 1).reshape(batch, height * width, inner), text)
        # contiguous: the layout that the next convolution sees decides how it rounds
        grid = tokens.reshape(batch, height, width, inner).permute(0, 3, 1, 2).contiguous()
        return self.proj_out(grid) + x


class TransformerBlock(nn.Module):
    """Apply self-attention, cross-attention and a gated feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width, heads, width)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attention(width, heads, text_width)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        normal = self.norm1(x)
        x = self.attn1(normal, normal) + x
        x = self.attn2(self.norm2(x), text) + x
        return self.ff(self.norm3(x)) + x


class Gate(nn.Module):
    """Scale features by others of the same token, through a GELU. https://arxiv.org/abs/2002.05202."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * out)

    def forward(self, x: Tensor) -> Tensor:
        values, gate = self.proj(x).chunk(2, dim=-1)
        return values * F.gelu(gate)


class FeedForward(nn.Module):
    """Run a gated layer of four times the width; its names are those in files of weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Attention(nn.Module):
    """Let every token of `x` gather from those of `source`. https://arxiv.org/abs/1706.03762."""

    def __init__(self, width: int, heads: int, source_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(source_width, width, bias=False) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        query, key, value = (
            tokens.view(len(x), -1, self.heads, tokens.shape[-1] // self.heads).transpose(1, 2)
            for tokens in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        gathered = F.scaled_dot_product_attention(query, key, value)
        return self.to_out[0](gathered.transpose(1, 2).reshape(len(x), -1, self.heads * gathered.shape[-1]))
