"""Weights from anywhere, mutated or malformed: one line that names the file, and never the advice to run its code."""

import io
import json
import pickle
import random
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_core.errors import CheckpointError
from image_core.models.base import check_base, load_unet, load_vae
from image_core.models.official import read_pickle
from image_core.models.single_file import read_vae
from image_core.prompts.ram import read_ram
from image_core.storage.tensors import TensorFile, read_checkpoint, read_torch
from osediff_video.temporal.raft import load_raft


class Runs:
    """Would create a file when unpickled by code that runs what it reads."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w')",))


def saved(content, **how):
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def claims(size):
    """One number that says it is `size`."""
    return torch.zeros(1).as_strided(size, [0] * len(size))


TENSOR = torch.zeros(4, 4)
MALFORMED = {
    "nothing": b"",
    "marks": b"(" * 100_000,
    "a stop": b".",
    "text": b"no checkpoint",
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a list": saved([TENSOR]),
    "a number": saved(7),
    "a tensor": saved(TENSOR),
    "an older format": saved({"a": TENSOR}, _use_new_zipfile_serialization=False)[:300],
    "a plain pickle": pickle.dumps({"a": 1}),
    "numbers for names": saved({1: TENSOR, 2: TENSOR}),
    "texts for tensors": saved({"a": "b"}),
    "terabytes": saved({"a": claims([1 << 20, 1 << 20])}),
    "a sparse one": saved({"a": TENSOR.to_sparse()}),
    "complex ones": saved({"a": TENSOR.to(torch.complex64)}),
    "one without content": saved({"a": torch.empty(3, device="meta")}),
    "a state dict that is none": saved({"state_dict": [1, 2]}),
    "a model that is none": saved({"model": "x"}),
}
READERS = {"pickle": read_pickle, "checkpoint": read_checkpoint, "tagger": read_ram, "flow": load_raft}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_checkpoint_is_one_line(name, reader, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(MALFORMED[name])
    with pytest.raises(CheckpointError) as caught:
        READERS[reader](path)
    message = str(caught.value)
    assert "weights.pth" in message and len(message.splitlines()) == 1 and "weights_only" not in message


def test_code_in_a_file_is_not_run(tmp_path):
    for how in (True, False):
        content = saved({"a": TENSOR, "b": Runs(tmp_path / "ran")}, _use_new_zipfile_serialization=how)
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="with more in it than tensors"):
            read_torch(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def mutated(content, seed):
    draw, content = random.Random(seed), bytearray(content)
    kind = seed % 4
    if kind == 0:
        del content[draw.randrange(len(content)) :]
    elif kind == 1:
        for _ in range(draw.randint(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    elif kind == 2:
        place = draw.randrange(len(content))
        content[place : place + draw.randint(1, 64)] = draw.randbytes(draw.randint(0, 64))
    else:
        place = draw.randrange(len(content))
        content[place:place] = b"\x80\x04" * draw.randint(1, 30)
    return bytes(content)


@pytest.mark.parametrize("seed", range(60))
def test_mutated_pickles_are_read_or_refused(seed, tiny_weights, tmp_path):
    """Of both formats of torch: what is read has all it should have, whatever the numbers; the rest is one line."""
    whole = tiny_weights.read_bytes()
    if seed % 2:
        # the directory of the archive alone, so that most mutations hit the pickle
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            inside, out = mutated(archive.read(name), seed), io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as again:
                for member in archive.namelist():
                    again.writestr(member, inside if member == name else archive.read(member))
            content = out.getvalue()
    else:
        content = mutated(whole, seed)
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    try:
        result = read_pickle(path)
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1 and "weights.pkl" in str(error)
    else:
        assert all(isinstance(t, torch.Tensor) and t.isfinite().all() for t in result["state_dict_unet"].values())


@pytest.mark.parametrize("seed", range(24))
def test_mutated_safetensors_are_read_or_refused(seed, tmp_path):
    save_file({"a": torch.ones(8, 8), "b": torch.ones(3)}, tmp_path / "whole.safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(mutated((tmp_path / "whole.safetensors").read_bytes(), seed))
    try:
        dict(TensorFile(path))
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1


def test_a_header_whose_length_looks_like_a_page_is_no_page(tmp_path):
    """0x3C20 bytes of header begin with a space and "<"."""
    path = tmp_path / "weights.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    header = header.ljust(0x3C20)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert path.read_bytes()[:2] == b" <" and TensorFile(path)["a"].item() == 0


@pytest.fixture
def base(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "base")


def setting(file, **changes):
    def change(base):
        values = json.loads((base / file).read_text()) | changes
        (base / file).write_text(json.dumps(values))

    return change


def text(file, content):
    return lambda base: (base / file).write_text(content)


BASES = {
    **{f"{part} is {content:.20}": text(f"{part}/{file}", content) for part, file in (
        ("unet", "config.json"), ("vae", "config.json"), ("scheduler", "scheduler_config.json"),
        ("text_encoder", "config.json"),
    ) for content in ('"attacker/beacon"', "[]", "[" * 50_000, "", "1" * 5000)},
    "layers": setting("unet/config.json", layers_per_block=100_000),
    "a width that is text": setting("unet/config.json", cross_attention_dim="32"),
    "channels that are a list": setting("vae/config.json", latent_channels=[4]),
    "a scale that is text": setting("vae/config.json", scaling_factor="x"),
    "a scale of nothing": setting("vae/config.json", scaling_factor=0),
    "steps": setting("scheduler/scheduler_config.json", num_train_timesteps=10**9),
    "half a step": setting("scheduler/scheduler_config.json", num_train_timesteps=1.5),
    "betas": setting("scheduler/scheduler_config.json", trained_betas=[0.1, "x"]),
    "a beta beyond": setting("scheduler/scheduler_config.json", beta_end=7),
    "a schedule that is a list": setting("scheduler/scheduler_config.json", beta_schedule=["linear"]),
    "a prediction that is a list": setting("scheduler/scheduler_config.json", prediction_type=["epsilon"]),
    "no signal": setting("scheduler/scheduler_config.json", beta_start=0.9, beta_end=0.99),
}  # fmt: skip


@pytest.mark.parametrize("name", BASES)
def test_a_malformed_base_is_one_line(name, base):
    BASES[name](base)
    with pytest.raises(CheckpointError) as caught:
        check_base(base)
        load_unet(base)
        load_vae(base)
    message = str(caught.value)
    assert str(base) in message and len(message.splitlines()) == 1 and len(message) < 1000


def test_a_base_is_read_from_safetensors_only(base):
    """A pickle beside them is not looked at; alone it is refused, with what to do."""
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), base / "unet" / "diffusion_pytorch_model.bin")
    load_unet(base)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"missing \(only a pickle, \.bin; convert it to safetensors\)"):
        load_unet(base)


def test_a_base_in_several_files_is_read_and_its_index_does_not_lead_out(base):
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    names = sorted(tensors)
    weights.unlink()
    places = {}
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, base / "unet" / f"part{number}.safetensors")
        places |= dict.fromkeys(part, f"part{number}.safetensors")
    index = base / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    result = load_unet(base).state_dict()
    assert all(torch.equal(result[name], tensors[name]) for name in names)
    for wrong in ("../../x.safetensors", "/etc/passwd", 5, ["x"]):
        index.write_text(json.dumps({"weight_map": places | {names[0]: wrong}}))
        with pytest.raises(CheckpointError):
            load_unet(base)


@pytest.mark.parametrize("kind", ["NaN", "other", "half"])
def test_another_autoencoder_is_checked_as_the_base_is(kind, base, tmp_path):
    tensors = load_file(base / "vae" / "diffusion_pytorch_model.safetensors")
    name = min(tensors)
    if kind == "NaN":
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    elif kind == "other":
        tensors = {f"encoder.down.{key}": tensor for key, tensor in tensors.items()}
    else:
        del tensors[name]
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match=r"vae\.safetensors"):
        read_vae(tmp_path / "vae.safetensors", load_vae(base))
