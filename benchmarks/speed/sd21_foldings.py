"""What each folding brings to Stable Diffusion 2.1 on one core of a CPU, by random weights. Prints JSON lines.

python -m benchmarks.speed.sd21_foldings --configs FILE.json [--px 256] [--rounds 3] [--only NAME,...]

configs: settings of unet and vae, as in the diffusers folder of Stable Diffusion 2.1-base. Each row holds a variant
against the plain run of the published code, adapters beside the layers, in turn with it: CPU seconds of the best round
of each, their ratio, and how far the results are apart, relative to their size (of whole images: in levels of 255).
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from image_core.generator import Generator, KLAutoencoder, set_precision
from image_core.lora import add_lora, unet_targets, vae_targets
from image_core.models.fold import fold, fold_attention, fold_timestep, pack_linear

ALPHA_BAR, SCALE = 0.00466, 0.18215
"""Of Stable Diffusion at its last step."""


def plain_of(generator: Generator) -> Generator:
    """Return the same network with adapters beside its layers; they start at zero, so that results are the same."""
    plain = copy.deepcopy(generator, {id(weight): weight for weight in generator.parameters()})  # two would fill memory
    for name, targets in unet_targets(plain.unet).items():
        add_lora(plain.unet, targets, name)
    add_lora(plain.autoencoder.vae, vae_targets(plain.autoencoder.vae))  # type: ignore[attr-defined]
    return plain.requires_grad_(False).eval()


def ours_of(generator: Generator, *changes: Callable[[Generator], object]) -> Generator:
    """Return a copy of the network, merged and channels last as it is loaded, with some changes."""
    matrices = (layer.weight for layer in generator.unet.modules() if isinstance(layer, nn.Linear))
    ours = copy.deepcopy(generator, {id(weight): weight for weight in matrices}).to(memory_format=torch.channels_last)
    for change in changes:
        change(ours)
    return ours


def in_turn(calls: list[Callable[[], Tensor]], rounds: int) -> tuple[list[float], list[Tensor]]:
    """Return the least CPU seconds of each call, and its result; the first round prepares."""
    best, results = [float("inf")] * len(calls), [torch.empty(0)] * len(calls)
    for turn in range(1 + rounds):
        for place, call in enumerate(calls):
            began = time.thread_time()
            results[place] = call()
            if turn:
                best[place] = min(best[place], time.thread_time() - began)
    return best, results


def apart(results: list[Tensor]) -> float:
    expected, result = (value.float() for value in results)
    return float((result - expected).norm() / expected.norm())


def levels(results: list[Tensor]) -> float:
    return float(127.5 * (results[1].float() - results[0].float()).square().mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--px", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    settings = json.loads(arguments.configs.read_text())
    torch.manual_seed(0)
    torch.set_num_threads(1)
    autoencoder = KLAutoencoder(AutoencoderKL(**settings["vae"]), SCALE)
    generator = Generator(autoencoder, UNet2DConditionModel(**settings["unet"]), ALPHA_BAR)
    generator.requires_grad_(False).eval()
    image = torch.rand(1, 3, arguments.px, arguments.px) * 2 - 1
    text, latent = torch.randn(1, 77, 1024), torch.randn(1, 4, arguments.px // 8, arguments.px // 8)
    plain = plain_of(generator)

    def timestep(g: Generator) -> None:
        fold_timestep(g.unet, g.timestep)

    def attention(g: Generator) -> None:
        fold_attention(g.unet)

    def packed(g: Generator) -> None:
        pack_linear(g.unet)

    def half_autoencoder(g: Generator) -> None:
        set_precision(g, torch.float32, torch.bfloat16)

    def unet(g: Generator) -> Tensor:
        return g.predict_noise(latent, text)

    def encode(g: Generator) -> Tensor:
        return g.encode(image)

    def decode(g: Generator) -> Tensor:
        return g.decode(latent, image)

    def whole(g: Generator) -> Tensor:
        return g(image, text)

    variants: dict[str, tuple[Callable[[Generator], Tensor], tuple[Callable[[Generator], object], ...]]] = {
        "unet: merged, channels last": (unet, ()),
        "unet: and timestep": (unet, (timestep,)),
        "unet: and attention": (unet, (attention,)),
        "unet: and packed": (unet, (packed,)),
        "unet: all folded": (unet, (fold,)),
        "encoder: merged, channels last": (encode, ()),
        "encoder: bf16": (encode, (half_autoencoder,)),
        "decoder: channels last": (decode, ()),
        "decoder: bf16": (decode, (half_autoencoder,)),
        "whole: all folded, float32": (whole, (fold,)),
        "whole: mixed": (whole, (half_autoencoder, fold)),
    }
    for name, (run, changes) in variants.items():
        if arguments.only and not any(part in name for part in arguments.only.split(",")):
            continue
        ours = ours_of(generator, *changes)
        with torch.inference_mode():
            best, results = in_turn([partial(run, plain), partial(run, ours)], arguments.rounds)
        row = {"variant": name, "px": arguments.px, "plain_cpu_s": round(best[0], 2), "cpu_s": round(best[1], 2)}
        row |= {"ratio": round(best[0] / best[1], 3)}
        row |= {"rms_levels": round(levels(results), 3)} if run is whole else {"apart": float(f"{apart(results):.1e}")}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
        del ours


if __name__ == "__main__":
    main()
