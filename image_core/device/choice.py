"""Choose a device and a precision by name; torch, which takes a second to start, is asked only where a GPU may be."""

import ctypes
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from image_core.device.tuned import read_tuned
from image_core.errors import ModelNotFoundError
from image_core.options import ENGINES, INT8_FILE, PRECISIONS, Engine, Precision

DTYPE_NAMES: Mapping[str, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "mixed": "float32"}
"""torch's names of the precisions."""

AUTOENCODER_NAMES: Mapping[str, str] = {**DTYPE_NAMES, "mixed": "bfloat16"}
"""As DTYPE_NAMES, of the autoencoder: most of the work, and the one step does not multiply its decoder's errors."""

LEAST_FORGIVING = 0.25
"""The share of signal from which bf16 is good enough: see `choose_precision`."""


def choose_device_name(name: str) -> str:
    """Choose a device by name; "auto" is the first GPU, else the CPU.

    Raises ModelNotFoundError for a device that is not here.
    """
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return str(torch.empty(0, device=name).device)
    except (RuntimeError, AssertionError) as error:
        raise ModelNotFoundError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error


def may_have_gpu() -> bool:
    """Return whether torch could find a GPU: False only on a Linux without the driver of NVIDIA's or AMD's."""
    return sys.platform != "linux" or bool(graphics_drivers())


def graphics_drivers() -> list[str]:
    """Return what the drivers of this machine's cards compute with: "CUDA", "ROCm"; of AMD's only on Linux."""
    drivers = []
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        pass
    else:
        drivers.append("CUDA")
    return drivers + (["ROCm"] if Path("/dev/kfd").exists() else [])


def choose_precision(precision: Precision, device: str, alpha_bar: float) -> Precision:
    """Choose the type of numbers; "auto" is fp16 on a GPU quick at it, and on a CPU fp32 or, if good enough, bf16.

    The one step divides rounding errors by sqrt(alpha_bar): 14.65 times at t = 999, where bf16 shows. At 1.27 times the
    embedded model's images differ from fp32 by one level of 255 at most and take half the time.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "fp16" if has_quick_half(device) else "fp32"
    forgiving = device == "cpu" and alpha_bar > LEAST_FORGIVING
    return "bf16" if forgiving and "avx512_bf16" in processor_features() else "fp32"


def has_quick_half(device: str) -> bool:
    """Return whether a card multiplies in fp16 quicker than in fp32: of NVIDIA's, those from Volta on."""
    import torch

    return torch.version.cuda is None or torch.cuda.get_device_capability(device) >= (7, 0)


def choose_engine(
    engine: Engine, device: str, precision: Precision, covered: bool, has_ranges: bool = False, fast: bool = False
) -> Engine:
    """Choose what multiplies; "auto" is OpenVINO where it was measured to be faster here (`bench --tune`), else torch.

    covered: OpenVINO's graphs cover the model. has_ranges: those of int8 were measured. fast: it runs without its UNet.
    "auto" is never int8. Raises ModelNotFoundError for an engine that cannot be used.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    obstacle = None
    if not covered:
        obstacle = "it runs models of the embedded kind only, lite and lite-faithful"
    elif device != "cpu":
        obstacle = f"it runs on a CPU, not on {device}; add --device cpu"
    elif precision in ("fp16", "mixed"):
        obstacle = "it computes in fp32 or bf16; leave --precision at auto"
    elif importlib.util.find_spec("openvino") is None:
        obstacle = "it is not installed; pip install 'osediff-video[openvino]'"
    elif engine == "openvino-int8" and not has_ranges:
        obstacle = f"the model holds no {INT8_FILE}; make it with python -m train.int8"
    if engine.startswith("openvino") and obstacle:
        raise ModelNotFoundError(f"engine {engine!r} cannot be used here: {obstacle}")
    if engine != "auto":
        return engine
    tuned = None if obstacle else read_tuned(fast)
    return "openvino" if tuned is not None and tuned.engine == "openvino" else "torch"


def processor_features() -> set[str]:
    """Return what the processor can do, by the names of torch but for `avx512_f`, which is avx512f here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        import torch

        return {name.replace("512_f", "512f") for name, has in torch.cpu.get_capabilities().items() if has is True}
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
