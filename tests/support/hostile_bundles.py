"""Bundles as an enemy or a bad disk would write them, each with hashes that are right."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from image_core.storage.files import sha256

DEEP = "[" * 50_000
HUGE = "1" * 5000
NAN, INF = float("nan"), float("inf")


def sign(folder: Path) -> None:
    """Write the true hashes of all files into `bundle.json`, as far as it is still an object with some."""
    file = folder / "bundle.json"
    try:
        values = json.loads(file.read_text())
        names = [name for name in values["files"] if (folder / name).is_file()]
        values["files"].update({name: sha256(folder / name) for name in names})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    file.write_text(json.dumps(values))


def text(name, content):
    """Replace a file by a text."""
    return lambda folder: (folder / name).write_text(content)


def setting(file, /, **changes):
    """Change settings in a JSON file."""

    def change(folder):
        values = json.loads((folder / file).read_text()) | changes
        (folder / file).write_text(json.dumps(values))

    return change


def without(name, *keys):
    """Take keys out of a JSON file."""

    def change(folder):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if key not in keys}))

    return change


def tensors(name, change, metadata=None):
    """Change tensors; change: of the first in order, or of the dictionary."""

    def edit(folder):
        values = load_file(folder / name)
        result = change(values)
        save_file(values if result is None else result, folder / name, metadata)

    return edit


def first(function):
    """Apply to the first tensor in order of names."""

    def change(values):
        key = min(values)
        values[key] = function(values[key])

    return change


def unlisted(name):
    """Take a file out of the list, but leave it there."""

    def change(folder):
        values = json.loads((folder / "bundle.json").read_text())
        del values["files"][name]
        (folder / "bundle.json").write_text(json.dumps(values))

    return change


def poke(value):
    """Put one value into a tensor."""

    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


def renamed(values):
    return {f"x.{key}": value for key, value in values.items()}


def tokens(**changes):
    return setting("tokenizer/tokenizer_config.json", **changes)


def lists(**changes):
    return setting("bundle.json", **changes)


DESCRIPTIONS = {
    **{f"description {name}": text("bundle.json", content) for name, content in {
        "empty": "", "null": "null", "list": "[]", "text": '"x"', "number": "3", "deep": DEEP, "huge": HUGE,
        "not a number": '{"alpha_bar": NaN}', "bytes": "\x00\x01", "unclosed": '{"name": "x"',
    }.items()},
    **{f"{key} is {value!r:.30}": lists(**{key: value}) for key, values in {
        "files": (None, [], {"unet.json": None}, {"unet.json": []}, {"unet.json": 5}, {"/etc/passwd": "0" * 64},
                  {"a/../../x": "0" * 64}, {"c:x": "0" * 64}, {}),
        "prompts": (None, [], [None], "x", [["x"]], {}, ["a"] * 2000),
        "card": ([], None, "x"),
        "alpha_bar": ("x", None, 0, 1, -0.5, 2, 1e400, True, 1e-9, [0.5]),
        "timestep": ("x", None, 10**30, -1, 1.5, True),
        "latent_scale": ("x", None, 0, 1e30, [1]),
        "autoencoder": (None, [], "vq", "lite"),
        "color_fix": (None, "auto", {}, "magic"),
        "name": (None, "", "x" * 1000, 5),
        "licence": (None, []),
        "format_version": (None, "1", 2, [1], True),
    }.items() for value in values},
    "an unknown key": lists(surprise=1),
    "no prompts": without("bundle.json", "prompts"),
    "unet.safetensors unlisted": unlisted("unet.safetensors"),
    "prompts.safetensors unlisted": unlisted("prompts.safetensors"),
    "vocab.json unlisted": unlisted("tokenizer/vocab.json"),
    "text encoder weights unlisted": unlisted("text_encoder/model.safetensors"),
}  # fmt: skip

SETTINGS = {
    **{f"{file} is {content!r:.30}": text(file, content) for file in ("unet.json", "autoencoder.json") for content in (
        '"attacker/beacon"', "null", "[]", "not JSON", "{}", DEEP, HUGE, '{"sample_size": 1e400}',
    )},
    **{f"unet {key} = {value!r:.30}": setting("unet.json", **{key: value}) for key, value in {
        "layers_per_block": 100_000, "block_out_channels": [10**9, 10**9], "cross_attention_dim": "32",
        "in_channels": 5, "out_channels": 0, "down_block_types": ["../x", "y"], "act_fn": "os.system",
        "attention_head_dim": 0, "norm_num_groups": 7, "transformer_layers_per_block": 10**6, "norm_eps": -1,
        "mid_block_type": None, "encoder_hid_dim": 7, "addition_embed_type": "text", "class_embed_type": "timestep",
        "time_embedding_type": "fourier", "unheard_of": 1, "up_block_types": ["UpBlock2D"], "conv_in_kernel": 4,
        "use_linear_projection": "yes", "freq_shift": 10**9, "time_embedding_dim": 10**9,
    }.items()},
    **{f"autoencoder {key} = {value!r:.30}": setting("autoencoder.json", **{key: value}) for key, value in {
        "layers_per_block": 10**5, "block_out_channels": [8, 16], "latent_channels": 9, "in_channels": 4,
        "norm_num_groups": 0, "down_block_types": [["DownEncoderBlock2D"]], "shift_factor": 3, "act_fn": 5,
    }.items()},
}  # fmt: skip

WEIGHTS = {
    **{f"{file}: {what}": change for file in ("unet", "autoencoder") for what, change in {
        "NaN": tensors(f"{file}.safetensors", first(poke(NAN))),
        "infinity": tensors(f"{file}.safetensors", first(poke(INF))),
        "whole numbers": tensors(f"{file}.safetensors", first(lambda t: t.to(torch.int32))),
        "another shape": tensors(f"{file}.safetensors", first(lambda t: t[:1].clone())),
        "nothing": tensors(f"{file}.safetensors", lambda _: {}),
        "a page": text(f"{file}.safetensors", "<!DOCTYPE html>"),
        "a header of 2^63": lambda folder, file=file: (folder / f"{file}.safetensors").write_bytes(b"\xff" * 16),
    }.items()},
    "prompts: NaN": tensors("prompts.safetensors", first(poke(NAN))),
    "prompts: wider": tensors("prompts.safetensors", lambda t: {k: torch.zeros(1, 77, 33) for k in t}),
    "prompts: no 0": tensors("prompts.safetensors", lambda t: {"x": t["0"]}),
    "prompts: flat": tensors("prompts.safetensors", lambda t: {k: v[0].clone() for k, v in t.items()}),
    "prompts: none": tensors("prompts.safetensors", lambda t: {k: torch.zeros(1, 0, 32) for k in t}),
    "prompts: whole numbers": tensors("prompts.safetensors", lambda t: {k: v.int() for k, v in t.items()}),
    **{f"lora: scale {scale}": tensors("lora.unet.safetensors", lambda _: None, {"scale": scale}) for scale in (
        "x", "nan", "inf", "1e30", "",
    )},
    "lora: no scale": tensors("lora.vae.safetensors", lambda _: None),
    "lora: NaN": tensors("lora.unet.safetensors", first(poke(NAN)), {"scale": "2.0"}),
    "lora: half of a pair": tensors("lora.vae.safetensors", lambda t: {min(t): t[min(t)]}, {"scale": "2.0"}),
    "lora: other layers": tensors("lora.vae.safetensors", renamed, {"scale": "2"}),
    "lora: a vector": tensors("lora.vae.safetensors", first(lambda t: t.flatten()), {"scale": "2.0"}),
}  # fmt: skip

TEXT = {
    "merges: one word": text("tokenizer/merges.txt", "#version: 0.2\nabc\n"),
    "merges: unknown": text("tokenizer/merges.txt", "#version: 0.2\nq q q\nzzz yyy\n"),
    "merges: bytes": lambda folder: (folder / "tokenizer/merges.txt").write_bytes(b"\xff\xfe\x00"),
    **{f"vocabulary: {content!r:.30}": text("tokenizer/vocab.json", content) for content in (
        "[]", "null", '{"a": "b"}', '{"a": 99999999}', '{"a": -1}', DEEP, "{}",
    )},
    **{f"tokenizer {key} = {value!r:.30}": tokens(**{key: value}) for key, value in {
        "pad_token": 5, "eos_token": "no such token", "bos_token": ["x"], "unk_token": {"content": 7},
    }.items()},
    "tokenizer settings: a list": text("tokenizer/tokenizer_config.json", "[]"),
    **{f"text encoder {key} = {value!r:.30}": setting("text_encoder/config.json", **{key: value}) for key, value in {
        "hidden_size": 48, "num_hidden_layers": 10**6, "num_attention_heads": 7, "vocab_size": 3, "hidden_act": "eval",
        "max_position_embeddings": 10**9, "layer_norm_eps": "x", "intermediate_size": None,
    }.items()},
    **{f"text encoder is {content!r:.30}": text("text_encoder/config.json", content) for content in (
        '"attacker/beacon"', "[]", DEEP,
    )},
    "text encoder: NaN": tensors("text_encoder/model.safetensors", first(poke(NAN))),
    "text encoder: nothing": tensors("text_encoder/model.safetensors", lambda _: {}),
}  # fmt: skip

HARMLESS = {
    "a path in the settings": setting("unet.json", _name_or_path="attacker/beacon", _class_name="X"),
    "names in the text encoder": setting(
        "text_encoder/config.json", _name_or_path="attacker/beacon", auto_map={"AutoModel": "attacker/x--y.Z"},
        _attn_implementation="attacker/kernel", attn_implementation="attacker/kernel", quantization_config={"x": 1},
    ),
    "names in the tokenizer": tokens(
        name_or_path="attacker/beacon", auto_map={"AutoTokenizer": ["a/b--c.D", None]},
        tokenizer_file="/etc/passwd", chat_template="{{ 1 }}", added_tokens_decoder={"9": {"content": "x"}},
    ),
    "files that are not listed": lambda folder: [
        (folder / name).write_text('"attacker/beacon"')
        for name in ("tokenizer/tokenizer.json", "tokenizer/added_tokens.json", "tokenizer/special_tokens_map.json",
                     "text_encoder/adapter_config.json", "text_encoder/pytorch_model.bin", "lora.x.safetensors")
    ],
    "defaults of another version": setting("unet.json", of_the_future=None, dual_cross_attention=False),
    "a byte order mark": lambda folder: (folder / "unet.json").write_text(
        (folder / "unet.json").read_text(), encoding="utf-8-sig"
    ),
    "a card that is anything": lists(card={"\x1b[2J": ["\nError: x", {"a": [1, None]}], "summary": "\x1b[31m"}),
}  # fmt: skip

HOSTILE = DESCRIPTIONS | SETTINGS | WEIGHTS | TEXT
