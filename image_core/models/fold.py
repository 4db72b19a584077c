"""Fold into the UNet of Stable Diffusion what does not change between its calls: exact but for the order of sums.

The timestep is always the same, so what it adds to each block goes into a bias. Queries, keys and values of an image
are one product; keys and values of a text are kept while the text stays. On a CPU in float32, matrices are laid out
once as oneDNN wants them: torch's own product for them, MKL's, is less than half as fast on an AMD.

Only to run a model: nothing here learns, and adapters must have been merged.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.generator import Generator

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention


def fold(generator: Generator) -> Generator:
    """Fold all that pays where the generator is, in place. Returns the same generator."""
    unet = generator.unet
    fold_timestep(unet, generator.timestep)
    fold_attention(unet)
    parameter = next(unet.parameters())
    if parameter.device.type == "cpu" and parameter.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        pack_linear(unet)
    return generator


@torch.no_grad()
def fold_timestep(unet: "UNet2DConditionModel", timestep: int) -> None:
    """Add what a timestep gives to each block to the bias of its first convolution; the UNet no longer looks at it.

    A UNet whose blocks are scaled by the timestep, not shifted, stays as it is.
    """
    from diffusers.models.resnet import ResnetBlock2D

    blocks = [block for block in unet.modules() if isinstance(block, ResnetBlock2D)]
    if any(block.time_embedding_norm != "default" or block.skip_time_act for block in blocks):
        return
    waves = unet.time_proj(torch.tensor([timestep])).to(unet.device)
    # float32, rounded once: in half precision the steps in between would each round
    hidden = unet.time_embedding.act(_linear(waves, unet.time_embedding.linear_1))
    embedding = _linear(hidden, unet.time_embedding.linear_2)
    for block in blocks:
        assert block.time_emb_proj is not None and block.conv1.bias is not None
        shift = _linear(block.nonlinearity(embedding), block.time_emb_proj)[0]
        block.conv1.bias.copy_(block.conv1.bias.float() + shift)
        block.time_emb_proj = None
    unet.get_time_embed, unet.time_embedding = _no_time, _NoTime()


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x.float(), layer.weight.float(), layer.bias.float())


def _no_time(**_: object) -> None:
    """Return nothing for an embedding that no block asks for: made on each call, it would be copied to the device."""


class _NoTime(nn.Module):
    def forward(self, *_: object) -> None:
        return None


def fold_attention(unet: nn.Module) -> None:
    """Make one product of the queries, keys and values of an image, and keep keys and values of a text."""
    from diffusers.models.attention import BasicTransformerBlock

    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            for attention in (block.attn1, block.attn2):
                if attention is not None:
                    if not attention.is_cross_attention:
                        fuse(attention)
                    attention.set_processor(FoldedAttention())


@torch.no_grad()
def fuse(attention: "Attention") -> None:
    """Put the layers of queries, keys and values one upon the other, as `to_qkv`."""
    layers = [attention.to_q, attention.to_k, attention.to_v]
    fused = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), bias=False, device="meta")
    fused.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)
    attention.to_q = attention.to_k = attention.to_v = None
    attention.to_qkv = fused


class FoldedAttention:
    """Compute attention as diffusers' own processor does, without its cases that no Stable Diffusion has.

    kept: a text, and its keys and values. Threads may share it: it is replaced whole.
    """

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Compute attention of an image, (B, N, C), to itself or to a text, (B, L, D). Returns (B, N, C)."""
        assert attention_mask is None and temb is None
        if encoder_hidden_states is None:
            parts = attn.to_qkv(hidden_states).chunk(3, -1)
        else:
            parts = attn.to_q(hidden_states), *self.keys_and_values(attn, encoder_hidden_states)
        query, key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        result = F.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](result.transpose(1, 2).flatten(2))

    def keys_and_values(self, attn: "Attention", text: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of a text, (B, L, D), (B, L, C) each."""
        if text.device.type != "cpu":  # to compare texts there would make the CPU wait for the device
            return attn.to_k(text), attn.to_v(text)
        one = text[:1] if text.stride(0) == 0 else text  # the same for all images
        kept = self.kept
        if kept is None or kept[0].dtype != one.dtype or not torch.equal(kept[0], one):
            kept = self.kept = one.clone(), attn.to_k(one), attn.to_v(one)
        return kept[1].expand(len(text), -1, -1), kept[2].expand(len(text), -1, -1)


def pack_linear(unet: nn.Module) -> None:
    """Replace the linear layers of a float32 UNet on the CPU by packed ones; their own weights are let go."""
    for parent in list(unet.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, PackedLinear(layer))


class PackedLinear(nn.Module):
    """Multiply by a matrix that lies in memory as oneDNN wants it, as torch's own compiler does it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
