"""What AutoencoderTiny saves in the place of Stable Diffusion's decoder, by random weights or by given ones.

python -m benchmarks.speed.tiny_decoder [--px 256] [--rounds 3] [--vae FOLDER --tiny FOLDER IMAGE ...]

Prints a JSON line for float32 and bfloat16: parameters; processor seconds of one thread for a million output pixels, in
turns, the best round of each; and, on Linux, the peak memory for each output pixel, beside that of the VAE's encoder.
With folders in diffusers layout and images, also what each decoder leaves of the images, encoded by the VAE: PSNR in dB
and SSIM. Random weights say nothing of quality.
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from image_core.device.tuned import machine
from image_core.generator import KLAutoencoder
from image_core.images import crop, pad_to_multiple, to_images, to_tensor
from osediff_video.images.image_file import read_image
from osediff_video.metrics.image import luma, psnr, ssim

WIDTHS = (128, 256, 512, 512)


def random_vae() -> AutoencoderKL:
    """The VAE of Stable Diffusion in its full size."""
    return AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
        layers_per_block=2,
        latent_channels=4,
    )


@torch.inference_mode()
def seconds(decoders: dict[str, KLAutoencoder], px: int, rounds: int, dtype: torch.dtype) -> dict[str, float]:
    """Return the processor seconds for 1e6 output pixels."""
    best = dict.fromkeys(decoders, float("inf"))
    latent = torch.randn(1, 4, px // 8, px // 8, dtype=dtype).to(memory_format=torch.channels_last)
    for turn in range(1 + rounds):  # the first prepares
        for name, decoder in decoders.items():
            began = time.thread_time()
            decoder.decode(latent, latent)
            if turn:
                best[name] = min(best[name], time.thread_time() - began)
    return {name: round(spent / px**2 * 1e6, 3) for name, spent in best.items()}


@torch.inference_mode()
def peaks(decoders: dict[str, KLAutoencoder], px: int, dtype: torch.dtype) -> dict[str, int]:
    """Return by how many bytes for each output pixel a call raises the memory of this process."""
    image = torch.randn(1, 3, px, px, dtype=dtype).to(memory_format=torch.channels_last)
    latent = torch.randn(1, 4, px // 8, px // 8, dtype=dtype).to(memory_format=torch.channels_last)
    tiny, own = decoders["tiny"], decoders["own"]
    work: dict[str, Callable[[], object]] = {  # the least first: what one took, the next may find free
        "tiny decoder": lambda: tiny.decode(latent, latent),
        "encoder": lambda: own.encode(image),
        "own decoder": lambda: own.decode(latent, latent),
    }
    found = {}
    for name, call in work.items():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again at what is held now
        before = resident("VmRSS")
        call()
        found[name] = (resident("VmHWM") - before) // px**2
    return found


def resident(name: str) -> int:
    """Return a number of bytes that Linux says of this process."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


@torch.inference_mode()
def quality(decoders: dict[str, KLAutoencoder], images: list[Path], dtype: torch.dtype) -> dict[str, list[float]]:
    """Return the mean PSNR and SSIM of images that were encoded and decoded."""
    scores = {name: [0.0, 0.0] for name in decoders}
    for path in images:
        image = read_image(path).image
        padded = pad_to_multiple(to_tensor([image]), 8, 64).to(dtype)
        for name, decoder in decoders.items():
            result = crop(decoder.decode(decoder.encode(padded), padded).float(), *image.shape[:2])
            result_luma, image_luma = luma(to_images(result, image.dtype)[0]), luma(image)
            for place, measure in enumerate((psnr, ssim)):
                scores[name][place] += measure(result_luma, image_luma) / len(images)
    return {name: [round(of_psnr, 2), round(of_ssim, 4)] for name, (of_psnr, of_ssim) in scores.items()}


def parameters(decoder: nn.Module) -> int:
    return sum(parameter.numel() for parameter in decoder.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--px", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--tiny", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    vae = AutoencoderKL.from_pretrained(given.vae, local_files_only=True) if given.vae else random_vae()
    tiny = AutoencoderTiny.from_pretrained(given.tiny, local_files_only=True) if given.tiny else AutoencoderTiny()
    scale = vae.config.scaling_factor
    decoders = {"own": KLAutoencoder(vae, scale), "tiny": KLAutoencoder(vae, scale, tiny.decoder)}
    sizes = {"own": parameters(vae.decoder), "tiny": parameters(tiny.decoder)}
    for dtype in (torch.float32, torch.bfloat16):
        for decoder in decoders.values():
            decoder.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            decoder.eval()
        row = {
            "weights": "given" if given.vae and given.tiny else "random",
            "dtype": str(dtype).removeprefix("torch."),
            "px": given.px,
            "parameters": sizes,
            "peak_bytes_per_px": peaks(decoders, given.px, dtype) if Path("/proc/self/clear_refs").exists() else None,
            "cpu_s_per_mp": seconds(decoders, given.px, given.rounds, dtype),
        }
        if given.images and row["weights"] == "given":
            row["psnr_ssim_y"] = quality(decoders, given.images, dtype)
        print(json.dumps({**row, "machine": machine()}), flush=True)


if __name__ == "__main__":
    main()
