"""The known models and where they are found: a name or a folder becomes a bundle, a bundle becomes an upscaler."""

from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch

from image_core.bundle import Bundle, load_generator, read_bundle
from image_core.errors import ModelNotFoundError
from image_core.files import sha256
from image_core.options import Precision, UpscaleOptions
from image_core.prompt import load_prompter, negative_text
from image_core.upscale import Upscaler

EMBEDDED = Path(__file__).parent.parent / "weights"
BEST_FIRST = ("sd21", "lite")
"""What `--model auto` tries, in this order."""

# Peak memory for each output pixel in float32, estimated with room to spare; half precision needs half
BYTES_PER_PIXEL = {"lite": 600, "kl": 7000}

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def models_folder() -> Path:
    """Where imported models are kept, by the platform's convention."""
    return platformdirs.user_data_path("osediff", appauthor=False) / "models"


def installed() -> dict[str, Path]:
    """Name -> folder of every model on this machine."""
    folders = [*sorted(EMBEDDED.glob("*/bundle.json")), *sorted(models_folder().glob("*/bundle.json"))]
    return {path.parent.name: path.parent for path in folders}


def find_model(name: str) -> Bundle:
    """A known name, "auto", or the path of a bundle. Raises ModelNotFoundError, or CheckpointError for a bad bundle."""
    known = installed()
    if name == "auto":
        name = next((best for best in BEST_FIRST if best in known), name)
    if name in known:
        return read_bundle(known[name])
    if Path(name).is_dir():
        return read_bundle(Path(name))
    raise ModelNotFoundError(
        f"there is no model {name!r} here: expected one of {', '.join(['auto', *known])} or the folder of a bundle "
        "(osediff models list shows what is here and what osediff models pull can load)"
    )


def choose_device(name: str) -> torch.device:
    """ "auto" is the first GPU, else the CPU. Raises ModelNotFoundError for a device that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ModelNotFoundError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error


def choose_dtype(precision: Precision, device: torch.device, alpha_bar: float) -> torch.dtype:
    """ "auto" is fp16 on a GPU; on a CPU fp32, or bf16 where the CPU multiplies it and the step forgives it.

    The one step divides rounding errors by sqrt(alpha_bar): 14.65 times at t = 999, where bf16 shows. At 1.27 times the
    embedded model's pictures differ from fp32 by one level of 255 at most and take half the time.
    """
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.float16
    forgiving = device.type == "cpu" and alpha_bar > 0.25
    return torch.bfloat16 if forgiving and torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def load_upscaler(
    bundle: Bundle,
    options: UpscaleOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    report: Callable[[str], None] = lambda _: None,
) -> Upscaler:
    """Read weights and prompt, ready to run. Raises CheckpointError for damaged files or a prompt it cannot read."""
    prompter = load_prompter(bundle, options, device, dtype, report)
    # with a fixed prompt its embedding; else one that stands for the shape of all
    text = prompter.embedding(None if prompter.tagger else prompter.fixed)
    negative = negative_text(prompter.prompts, options)
    generator = load_generator(bundle, device, dtype, options.lora_scale)
    return Upscaler(
        generator,
        text,
        options,
        bytes_per_pixel=BYTES_PER_PIXEL[bundle.config.autoencoder] * dtype.itemsize // 4,
        color_fix=bundle.config.color_fix,
        identity=f"{bundle.config.name} {sha256(bundle.path / 'bundle.json')[:16]} {str(dtype).removeprefix('torch.')}",
        generative=bundle.config.autoencoder == "kl",
        prompter=prompter if prompter.tagger else None,
        prompts=prompter.prompts,
        negative=negative,
        report=report,
    )
