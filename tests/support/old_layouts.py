"""Tensors of diffusers and transformers under the names of older codes: what a single file of 2.1-base looks like."""

import torch

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def ldm_unet(tensors, blocks=4, layers=2):
    """`model.diffusion_model.` of the latent-diffusion code. The last up blocks have attention, the first has none."""
    places = dict(ENDS)
    for i in range(blocks):
        for j in range(layers):
            places[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{(layers + 1) * i + j + 1}.0"
            places[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{(layers + 1) * i + j + 1}.1"
        places[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{(layers + 1) * (i + 1)}.0.op"
        for j in range(layers + 1):
            places[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{(layers + 1) * i + j}.0"
            places[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{(layers + 1) * i + j}.1"
        last = f"output_blocks.{(layers + 1) * i + layers}"
        places[f"up_blocks.{i}.upsamplers.0.conv"] = f"{last}.{2 if i else 1}.conv"
    return {f"model.diffusion_model.{moved(key, places, RESNET)}": tensor for key, tensor in tensors.items()}


def ldm_vae(tensors, blocks=4):
    """The autoencoder of the latent-diffusion code, without `first_stage_model.`: attention as 1 x 1 convolutions."""
    places = {"mid_block.attentions.0": "mid.attn_1", "conv_norm_out": "norm_out"}
    for i in range(blocks):
        places[f"down_blocks.{i}.downsamplers.0"] = f"down.{i}.downsample"
        places[f"up_blocks.{i}.upsamplers.0"] = f"up.{blocks - 1 - i}.upsample"
        for j in range(3):
            places[f"down_blocks.{i}.resnets.{j}"] = f"down.{i}.block.{j}"
            places[f"up_blocks.{i}.resnets.{j}"] = f"up.{blocks - 1 - i}.block.{j}"
    for i in range(2):
        places[f"mid_block.resnets.{i}"] = f"mid.block_{i + 1}"
    result = {}
    for key, tensor in tensors.items():
        side, dot, rest = key.partition(".")
        name = moved(rest, places, {"conv_shortcut": "nin_shortcut", **ATTENTION})
        matrix = ".attentions." in key and tensor.ndim == 2
        result[f"{side}{dot}{name}" if "coder" in side else key] = tensor[..., None, None] if matrix else tensor
    return result


def moved(key, places, inside):
    for old in sorted(places, key=len, reverse=True):
        if key.startswith(f"{old}."):
            rest = key.removeprefix(f"{old}.")
            for part, name in inside.items():
                if rest.startswith(f"{part}.") and ("resnets" in old or "mid.attn" in places[old]):
                    rest = f"{name}.{rest.removeprefix(f'{part}.')}"
                    break
            return f"{places[old]}.{rest}"
    return key


def open_clip(tensors):
    """`cond_stage_model.model.` of Stable Diffusion 2.x: OpenCLIP's text tower, one layer more than is used."""
    tensors = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    result = {
        "token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        "positional_embedding": tensors["embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["final_layer_norm.weight"],
        "ln_final.bias": tensors["final_layer_norm.bias"],
        "logit_scale": torch.zeros(()),
        "text_projection": torch.zeros(2, 2),
    }
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"}
    names |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    count = 1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("encoder.layers."))
    for layer in range(count + 1):
        source = f"encoder.layers.{min(layer, count - 1)}"
        block = f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            for theirs, ours in names.items():
                result[f"{block}.{ours}.{kind}"] = tensors[f"{source}.{theirs}.{kind}"]
            parts = [tensors[f"{source}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            result[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    return {f"cond_stage_model.model.{key}": tensor for key, tensor in result.items()}
