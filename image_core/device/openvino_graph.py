"""Write the networks of the embedded model as OpenVINO graphs: each function mirrors the `forward` of a module.

Images are (B, H, W, C) at the border of a graph, as they lie in memory here.
"""

import os
from collections.abc import Callable, Mapping

import numpy as np
import openvino.opset13 as ops
import torch
from numpy.typing import NDArray
from openvino import Model, Node
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX, LiteAutoencoder, ResidualBlock
from image_core.small_unet import (
    Attention,
    DownBlock,
    FeedForward,
    ResidualLayer,
    SmallUNet,
    Transformer,
    UpBlock,
    wave_embedding,
)

Quantize = Callable[[Node, str], Node]
"""From what a convolution reads, and the convolution's name, to the same in few levels."""

Bound = np.float32 | NDArray[np.float32]


class GraphWriter:
    """Write graphs of networks in float32. quantize: puts what a convolution reads and its weights into few levels."""

    def __init__(self, names: dict[nn.Module, str] | None = None, quantize: Quantize | None = None) -> None:
        self.names, self.quantize = names or {}, quantize

    # ---- layers
    def conv(self, x: Node, layer: nn.Conv2d) -> Node:
        weight, padding = constant(layer.weight), list(layer.padding)
        if self.quantize is not None:
            name = self.names[layer]
            x, weight = self.quantize(x, name), self.quantize(weight, f"{name}.weight")
        result = ops.convolution(x, weight, list(layer.stride), padding, padding, [1, 1])
        assert layer.bias is not None
        return ops.add(result, constant(layer.bias.view(1, -1, 1, 1)))

    def group_norm(self, x: Node, layer: nn.GroupNorm) -> Node:
        if not is_held_below_avx512():
            return ops.group_normalization(x, constant(layer.weight), constant(layer.bias), layer.num_groups, layer.eps)
        groups = ops.reshape(x, constant([0, layer.num_groups, -1]), special_zero=True)
        normal = ops.reshape(in_steps(groups, layer.eps), ops.shape_of(x), special_zero=False)
        weight, bias = (constant(values.view(1, -1, 1, 1)) for values in (layer.weight, layer.bias))
        return ops.add(ops.multiply(normal, weight), bias)

    def layer_norm(self, x: Node, layer: nn.LayerNorm) -> Node:
        if is_held_below_avx512():
            normal = in_steps(x, layer.eps)
        else:
            normal = ops.mvn(x, constant([-1]), True, layer.eps, "INSIDE_SQRT")
        return ops.add(ops.multiply(normal, constant(layer.weight)), constant(layer.bias))

    def linear(self, x: Node, layer: nn.Linear) -> Node:
        result = ops.matmul(x, constant(layer.weight), False, True)
        return result if layer.bias is None else ops.add(result, constant(layer.bias))

    # ---- UNet
    def unet(self, unet: SmallUNet, timestep: int, latent: Node, text: Node) -> Node:
        """Write `SmallUNet.forward` for one timestep, whose embedding becomes part of the biases."""
        waves = wave_embedding(torch.tensor([timestep]), unet.config.block_out_channels[0])
        time = F.silu(unet.time_embedding(waves))
        x = self.conv(latent, unet.conv_in)
        skips = [x]
        for block in unet.down_blocks:
            assert isinstance(block, DownBlock)
            for layer in block.resnets:
                skips.append(self.residual_layer(skips[-1], layer, time))  # type: ignore[arg-type]
            for halving in block.downsamplers:
                skips.append(self.conv(skips[-1], halving["conv"]))  # type: ignore[index]
        middle = unet.mid_block
        x = self.residual_layer(skips[-1], middle.resnets[0], time)  # type: ignore[arg-type]
        x = self.transformer(x, middle.attentions[0], text)  # type: ignore[arg-type]
        x = self.residual_layer(x, middle.resnets[1], time)  # type: ignore[arg-type]
        for block in unet.up_blocks:
            assert isinstance(block, UpBlock)
            for layer in block.resnets:
                x = self.residual_layer(ops.concat([x, skips.pop()], 1), layer, time)  # type: ignore[arg-type]
            for smoothing in block.upsamplers:
                x = self.conv(enlarged_like(x, skips[-1]), smoothing["conv"])  # type: ignore[index]
        x = ops.swish(self.group_norm(x, unet.conv_norm_out))
        assert isinstance(unet.conv_out, nn.Conv2d)
        return self.conv(x, unet.conv_out)

    def residual_layer(self, x: Node, layer: ResidualLayer, time: Tensor) -> Node:
        features = self.conv(ops.swish(self.group_norm(x, layer.norm1)), layer.conv1)
        features = ops.add(features, constant(layer.time_emb_proj(time).view(1, -1, 1, 1)))
        features = self.conv(ops.swish(self.group_norm(features, layer.norm2)), layer.conv2)
        return ops.add(x if layer.conv_shortcut is None else self.conv(x, layer.conv_shortcut), features)

    def transformer(self, x: Node, module: Transformer, text: Node) -> Node:
        grid = self.conv(self.group_norm(x, module.norm), module.proj_in)
        inner = module.proj_in.out_channels
        rows = ops.transpose(grid, constant([0, 2, 3, 1]))
        block = module.transformer_blocks[0]
        x_tokens = ops.reshape(rows, constant([0, -1, inner]), special_zero=True)
        normal = self.layer_norm(x_tokens, block.norm1)  # type: ignore[arg-type]
        x_tokens = ops.add(self.attention(normal, normal, block.attn1), x_tokens)  # type: ignore[arg-type]
        normal = self.layer_norm(x_tokens, block.norm2)  # type: ignore[arg-type]
        x_tokens = ops.add(self.attention(normal, text, block.attn2), x_tokens)  # type: ignore[arg-type]
        normal = self.layer_norm(x_tokens, block.norm3)  # type: ignore[arg-type]
        x_tokens = ops.add(self.feed_forward(normal, block.ff), x_tokens)  # type: ignore[arg-type]
        back = ops.transpose(ops.reshape(x_tokens, ops.shape_of(rows), special_zero=False), constant([0, 3, 1, 2]))
        return ops.add(self.conv(back, module.proj_out), x)

    def attention(self, x: Node, source: Node, module: Attention) -> Node:
        width = module.to_q.out_features
        shape = constant([0, -1, module.heads, width // module.heads])
        query, key, value = (
            ops.transpose(ops.reshape(self.linear(tokens, layer), shape, special_zero=True), constant([0, 2, 1, 3]))
            for tokens, layer in ((x, module.to_q), (source, module.to_k), (source, module.to_v))
        )
        gathered = ops.transpose(ops.scaled_dot_product_attention(query, key, value), constant([0, 2, 1, 3]))
        flat = ops.reshape(gathered, constant([0, -1, width]), special_zero=True)
        return self.linear(flat, module.to_out[0])  # type: ignore[arg-type]

    def feed_forward(self, x: Node, module: FeedForward) -> Node:
        gate, _, last = module.net
        values, gates = ops.split(self.linear(x, gate.proj), constant(2), 2).outputs()  # type: ignore[arg-type]
        return self.linear(ops.multiply(values, ops.gelu(gates, "erf")), last)  # type: ignore[arg-type]

    # ---- autoencoder
    def blocks(self, x: Node, blocks: list[nn.Module]) -> Node:
        for block in blocks:
            assert isinstance(block, ResidualBlock)
            x = ops.add(x, self.conv(ops.swish(self.conv(x, block.conv1)), block.conv2))
        return x

    def encoder(self, module: LiteAutoencoder, image: Node) -> Node:
        """Write `LiteAutoencoder.encode`."""
        blocks = ops.space_to_depth(image, "DEPTH_FIRST", LATENT_PX)
        first, *inner, last = module.encoder
        features = self.blocks(self.conv(blocks, first), inner)  # type: ignore[arg-type]
        return ops.add(self.conv(blocks, module.projection), self.conv(features, last))  # type: ignore[arg-type]

    def decoder(self, module: LiteAutoencoder, latent: Node, image: Node) -> Node:
        """Write `LiteAutoencoder.decode_unclamped`."""
        patch = module.config.skip_px
        features = ops.depth_to_space(self.conv(latent, module.from_latent), "DEPTH_FIRST", module.growth)
        seen = self.conv(ops.space_to_depth(image, "DEPTH_FIRST", patch), module.from_image)
        features = self.blocks(ops.add(features, seen), list(module.decoder))
        detail = ops.depth_to_space(self.conv(features, module.to_patch), "DEPTH_FIRST", patch)
        return ops.add(image, ops.multiply(detail, constant([0.1])))


def is_held_below_avx512() -> bool:
    """Return whether the user keeps OpenVINO from instructions that the processor has.

    Its own normalisation (2026.4.1) then ends the process: it mixes the instructions allowed with AVX-512, by registers
    that nobody set.
    """
    held = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    return held.upper() in ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")


def in_steps(x: Node, eps: float) -> Node:
    """Bring the last axis to mean 0 and deviation 1; a UNet takes a fifth to a third longer than by OpenVINO's own."""
    deviation = ops.subtract(x, ops.reduce_mean(x, constant([-1]), keep_dims=True))
    size = ops.abs(deviation)  # of a plain square OpenVINO would make its own normalisation again
    variance = ops.reduce_mean(ops.multiply(size, size), constant([-1]), keep_dims=True)
    return ops.divide(deviation, ops.sqrt(ops.add(variance, constant([eps]))))


def constant(values: Tensor | list[int] | list[float] | int) -> Node:
    """Return a constant: weights in float32, numbers of shapes as integers."""
    if isinstance(values, Tensor):
        return ops.constant(np.ascontiguousarray(values.detach().float().cpu().numpy()))
    array = np.asarray(values)
    return ops.constant(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def enlarged_like(x: Node, like: Node) -> Node:
    """Repeat positions until the grid is that of `like`."""
    sizes = ops.gather(ops.shape_of(like), constant([2, 3]), constant(0))
    return ops.interpolate(
        x, sizes, "nearest", "sizes", axes=constant([2, 3]), coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


def image_input(channels: int, name: str) -> tuple[Node, Node]:
    """Return an input (B, H, W, C) of float32, and the same as (B, C, H, W)."""
    given = ops.parameter([-1, -1, -1, channels], np.float32, name=name)
    return given, ops.transpose(given, constant([0, 3, 1, 2]))


def graph(result: Node, inputs: list[Node], name: str) -> Model:
    """Return a graph whose result is (B, H, W, C)."""
    return Model([ops.transpose(result, constant([0, 2, 3, 1]))], inputs, name)


def write_graphs(
    autoencoder: LiteAutoencoder, unet: SmallUNet, timestep: int, quantize: Quantize | None = None
) -> dict[str, Model]:
    """Return the graphs `encode`, `denoise` and `decode`. quantize: see `GraphWriter`."""
    parts = (("autoencoder", autoencoder), ("unet", unet))
    names = {module: f"{part}.{name}" for part, whole in parts for name, module in whole.named_modules()}
    writer, channels = GraphWriter(names, quantize), autoencoder.config.latent_channels
    with torch.no_grad():
        image, planes = image_input(3, "image")
        encode = graph(writer.encoder(autoencoder, planes), [image], "encode")
        latent, planes = image_input(channels, "latent")
        text = ops.parameter([-1, -1, unet.config.cross_attention_dim], np.float32, name="text")
        denoise = graph(writer.unet(unet, timestep, planes, text), [latent, text], "denoise")
        latent, planes = image_input(channels, "latent")
        image, seen = image_input(3, "image")
        decode = graph(writer.decoder(autoencoder, planes, seen), [latent, image], "decode")
    return {"encode": encode, "denoise": denoise, "decode": decode}


def quantizer(ranges: Mapping[str, float]) -> Quantize:
    """Return what puts the input and the weights of a convolution into 8 bits: signed, weights by output channel.

    ranges: the largest absolute value that each convolution reads (image_core/models/int8_ranges.py).
    """

    def quantize(node: Node, name: str) -> Node:
        if name in ranges:
            largest = np.float32(ranges[name])
            return cut(node, -largest, largest * np.float32(127 / 128), 256)
        weights = node.get_data()
        most = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), np.float32(1e-12))
        return cut(node, -most, most, 255)

    return quantize


def cut(node: Node, low: Bound, high: Bound, levels: int) -> Node:
    """Round to so many evenly spaced levels from `low` to `high`; zero is one of them."""
    bounds = [ops.constant(np.asarray(bound, np.float32)) for bound in (low, high)]
    return ops.fake_quantize(node, *bounds, *bounds, levels)
