"""Runs every way of the program on the CPU and on a pretended device, in one process, and compares.

python -m tests.support.pretended_run cuda|mps quick|pictures|shortage|training    in a folder; prints one JSON object

The folder holds tiny/ and tagging/ (bundles), in.png, in.mkv, raft.safetensors and images/ (to train on).
"""

import contextlib
import functools
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import pretended

KIND = sys.argv[1] if __name__ == "__main__" else "cuda"
DEVICE = pretended.install(KIND)  # before the project is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from click.testing import CliRunner  # noqa: E402
from PIL import Image  # noqa: E402

from cli.main import cli  # noqa: E402
from image_core.generator import Generator  # noqa: E402
from osediff_video.stages import drafting  # noqa: E402
from tests.support.media_files import read  # noqa: E402
from tests.support.train_recipes import tiny, tiny_sd21  # noqa: E402
from train.loop import run as train  # noqa: E402
from train.state import read_run  # noqa: E402

FP32 = ["--precision", "fp32", "--overwrite"]
IMAGE_WAYS = {
    "plain": [], "lite": ["--model", "lite"], "adain": ["--color-fix", "adain"], "wavelet": ["--color-fix", "wavelet"],
    "tiled": ["--scale", "8", "--tile", "128"], "guided": ["--guidance", "3"], "tones": ["--keep-tones"],
    "adaptive": ["--adaptive"], "prompt": ["--prompt", "a cat"], "strength": ["--strength", "0.4"],
    "adapters": ["--lora-scale", "0.5"], "tags": ["--model", "tagging", "--prompt-mode", "tags"],
    "maps": ["--uncertainty", "maps.png", "--draws", "2"],
    "lite tones": ["--model", "lite", "--keep-tones", "--color-fix", "wavelet"],
}  # fmt: skip
HALF_WAYS = {"fp16": ["--precision", "fp16"], "bf16": ["--precision", "bf16"]}
VIDEO_WAYS = {
    "pixel": [], "latent": ["--temporal", "latent"], "off": ["--temporal", "off"],
    "raft": ["--flow", "raft.safetensors"], "adain": ["--color-fix", "adain"], "batch": ["--batch", "3"],
    "maps": ["--uncertainty", "maps", "--draws", "2"], "tags": ["--model", "tagging"],
    "lite latent": ["--model", "lite", "--temporal", "latent"],
}  # fmt: skip
OUT_OF_MEMORY: dict[str, Callable[[], Exception]] = {
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "driver": lambda: RuntimeError("CUDA error: out of memory"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
}

MOST_PIXELS = (140_000, 100_000, 66_000)
"""Less than the whole image of 448 x 320, and down to the smallest tile."""


def call(*words: str) -> str:
    """Run a command. Raises AssertionError with its output unless it ends well."""
    outcome = CliRunner().invoke(cli, list(words))
    if outcome.exit_code:
        raise AssertionError(f"{' '.join(words)}: {outcome.output}") from outcome.exception
    return outcome.output


def differing(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """Return the largest difference in levels, and the share of values that differ."""
    apart = np.abs(a.astype(int) - b.astype(int))
    return int(apart.max()), float((apart > 0).mean())


def image(words: list[str], device: str) -> tuple[np.ndarray, str]:
    model = [] if "--model" in words else ["--model", "tiny"]
    scale = [] if "--scale" in words else ["--scale", "2"]
    said = call("image", "in.png", "-o", "out.png", *FP32, *model, *scale, *words, "--device", device)
    return np.asarray(Image.open("out.png")), said


def video(words: list[str], device: str) -> np.ndarray:
    model = [] if "--model" in words else ["--model", "tiny"]
    call("upscale", "in.mkv", "-o", "out.mkv", "--codec", "ffv1", "--scale", "2", *FP32, *model, *words,
         "--device", device)  # fmt: skip
    return np.stack([frame.image for frame in read(Path("out.mkv"))])


def transfers() -> dict[str, int]:
    """Return what has crossed since the last call, by direction and line."""
    counted = dict(pretended.COUNTS)
    pretended.COUNTS.clear()
    return counted


def quick() -> dict[str, object]:
    """One way of each kind, and what crosses between CPU and device for a video."""
    results: dict[str, object] = {}
    for name in ("lite tones", "tags"):
        results[f"image {name}"] = differing(image(IMAGE_WAYS[name], "cpu")[0], image(IMAGE_WAYS[name], KIND)[0])
    expected = video([], "cpu")
    transfers()
    pretended.THREADS.clear()
    results["video pixel"] = differing(expected, video([], KIND))
    results["transfers"] = {line: count for line, count in transfers().items() if "load" not in line}
    results["threads"] = len(pretended.THREADS - {threading.get_ident()})  # but for the one that loads
    with half_precision_runs_over():
        words = ["--precision", "fp16", "--batch", "2", "--temporal", "off"]
        results["video over"] = differing(video(words, "cpu"), video(words, KIND))
    drafting.BLEND_BYTES = 1 << 60  # more than any card has
    results["video huge"] = differing(video(["--temporal", "latent"], "cpu"), video(["--temporal", "latent"], KIND))
    return results


@contextlib.contextmanager
def half_precision_runs_over() -> Iterator[None]:
    """Let no decoder that computes in half precision give numbers."""
    plain = Generator.decode

    def decode(generator: Generator, latent: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        half = any(weights.dtype == torch.float16 for weights in generator.autoencoder.parameters())
        result = plain(generator, latent, image)
        return result * float("nan") if half else result

    Generator.decode = decode  # type: ignore[method-assign]
    yield
    Generator.decode = plain  # type: ignore[method-assign]


def images_and_videos() -> dict[str, object]:
    """Every way of an image and of a video."""
    results: dict[str, object] = {}
    for name, words in IMAGE_WAYS.items():
        results[f"image {name}"] = differing(image(words, "cpu")[0], image(words, KIND)[0])
    for name, words in HALF_WAYS.items():
        results[f"half {name}"] = differing(image(words, "cpu")[0], image(words, KIND)[0])
    for name, words in VIDEO_WAYS.items():
        results[f"video {name}"] = differing(video(words, "cpu"), video(words, KIND))
    call("preview", "in.mkv", "-o", "preview.mp4", "--model", "tiny", "--seconds", "0.1", "--scale", "2", *FP32,
         "--device", KIND)  # fmt: skip
    results["preview"] = len(read(Path("preview.mp4")))
    results["probe"] = KIND in call("probe", "in.mkv", "--model", "tiny", "--device", KIND)
    return results


def fail_above(most: int, error: Callable[[], Exception], name: str, tensors: tuple[torch.Tensor, ...]) -> None:
    """Raise where a convolution sees an image of more pixels."""
    if name == "conv2d" and tensors[0].shape[1] == 3 and tensors[0].numel() > 3 * most:
        raise error()


def shortage() -> dict[str, object]:
    """Let memory run out above some size of what a convolution sees: the ladder steps down until it fits."""
    results: dict[str, object] = {}
    words = ["--model", "tiny", "--scale", "8"]
    expected = image([*words, "--tile", "256"], "cpu")[0]  # the smallest tiles, where each of the limits leads
    for form, error in OUT_OF_MEMORY.items():
        for most in MOST_PIXELS:
            DEVICE.limit = functools.partial(fail_above, most, error)
            result, said = image(words, KIND)
            DEVICE.limit = lambda *_: None
            results[f"{form} {most}"] = [*differing(expected, result), "out of memory" in said]
    return results


def training(folder: Path, runs: Path) -> dict[str, object]:
    """Two steps of both models: the largest difference of any weight. runs: an empty folder."""
    results: dict[str, object] = {}
    prior = tiny(folder, folder / "images", "stage=prior", "loop.steps=1")
    train(prior, runs / "prior", lambda _: None)
    losses = ("loss.adversarial=0.2", "loss.feature_matching=0.3", "loss.latent=0.1", "loss.balance=true")
    lite = ("loop.steps=2", f"start.prior={(runs / 'prior').as_posix()!r}", "vsd.weight=0.5", *losses)
    images, warp = folder / "images", ("loop.steps=1", "data.frames=2", "loss.warp=0.5")
    ways = {
        "lite": lambda device: tiny(folder, images, *lite, "loop.ema=0.9", device),
        "warp": lambda device: tiny(folder, images, *warp, device),
        "sd21": lambda device: tiny_sd21(folder / "base", images, folder, "loop.steps=2", device),
    }
    for name, recipe in ways.items():
        states = []
        for device in ("cpu", "auto"):
            train(recipe(f"loop.device={device}"), runs / f"{name}-{device}", lambda _: None)
            states.append(read_run(runs / f"{name}-{device}")["modules"])
        pairs = [(one, states[1][module][key]) for module in states[0] for key, one in states[0][module].items()]
        results[f"train {name}"] = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    results["trained there"] = any("train/loop" in line or "train/" in line for line in transfers())
    return results


PARTS: dict[str, Callable[[], dict[str, object]]] = {
    "quick": quick,
    "pictures": images_and_videos,
    "shortage": shortage,
    "training": lambda: training(Path.cwd(), Path(tempfile.mkdtemp(dir=Path.cwd()))),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(PARTS[sys.argv[2]]()) + "\n")
