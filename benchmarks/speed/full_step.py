"""A training step of the full model at its real size, with random weights. Prints one JSON line.

python -m benchmarks.speed.full_step --configs FILE.json --tokenizer FOLDER --data IMAGES --work FOLDER [--crop 256]

configs: settings of unet, vae and text_encoder, as in the diffusers folder of Stable Diffusion 2.1-base. The base is
written to FOLDER once (5.2 GB), then the recipe sd21-one-gpu.toml is tried on it: the whole path that training takes,
generator step with VSD and critic step, without LPIPS. seconds: of the second step. peak: of the process, or the GPU.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from train.check import check, peak_memory
from train.recipe import load_recipe
from train.runs import Run

RECIPE = Path(__file__).parent.parent.parent / "train/recipes/sd21-one-gpu.toml"
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}


def write_base(configs: Path, tokenizer: Path, folder: Path) -> None:
    settings = json.loads(configs.read_text())
    torch.manual_seed(0)
    UNet2DConditionModel(**settings["unet"]).save_pretrained(folder / "unet")
    AutoencoderKL(**settings["vae"]).save_pretrained(folder / "vae")
    CLIPTextModel(CLIPTextConfig(**settings["text_encoder"])).save_pretrained(folder / "text_encoder")
    shutil.copytree(tokenizer, folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    arguments = parser.parse_args()
    base = arguments.work / "base"
    if not base.exists():
        write_base(arguments.configs, arguments.tokenizer, base)
    overrides = {
        "sd21.base": repr(base.as_posix()),
        "data.lists": "[]",
        "data.folder": repr(arguments.data.as_posix()),
        "data.crop_px": arguments.crop,
        "data.workers": 0,
        "loss.lpips": 0.0,
        "loop.batch": arguments.batch,
        "loop.accumulate": 1,
        "loop.precision": arguments.precision,
        "loop.device": arguments.device,
    }
    recipe = load_recipe(RECIPE, tuple(f"{key}={value}" for key, value in overrides.items()))
    began = time.monotonic()
    messages = []
    for line in check([Run(recipe, arguments.work)]):
        print("#", line, flush=True)
        messages.append(line)
    seconds = next(line.split()[2] for line in messages if line.startswith("a step"))
    on_gpu = arguments.device == "auto" and torch.cuda.is_available()
    row = {"crop_px": arguments.crop, "batch": arguments.batch, "precision": arguments.precision}
    row |= {"device": torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} thread(s)"}
    row |= {"seconds_a_step": float(seconds), "peak_gb": round(peak_memory() / 1e9, 2)}
    row |= {"all_s": round(time.monotonic() - began, 1)}
    row |= {"learns": [line for line in messages if "parameters learn" in line]}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
