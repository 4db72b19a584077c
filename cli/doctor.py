"""Define the command `osediff-video doctor`."""

import sys
from collections.abc import Sequence
from fractions import Fraction

from cli.help import command
from cli.printing import say, write


@command()
def doctor() -> None:
    """Check this installation and machine: libraries, devices, encoders, models."""
    import importlib.metadata as metadata
    import platform
    import shutil

    import av
    import psutil

    from image_core.bundle import read_bundle, verify_bundle
    from image_core.device.choice import may_have_gpu, processor_features
    from image_core.device.free_memory import free_ram
    from image_core.device.tuned import cores
    from image_core.errors import OseDiffError
    from image_core.models.catalogue import installed
    from image_core.models.choice import choose_model

    problems = []
    for name in ("osediff-video", "torch", "torchvision", "diffusers", "av", "opencv-python-headless"):
        write(f"{name:24} {metadata.version(name)}")
    write(f"{'python':24} {platform.python_version()} on {platform.platform()}")
    write(f"{'ffmpeg':24} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}")
    if metadata.version("av").split(".")[0] != "18":
        problems.append("av must be 18.x")
    memory = psutil.virtual_memory()
    write(f"{'memory':24} {free_ram() / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    write(f"{'disk here':24} {shutil.disk_usage('.').free / 1e9:.1f} GB free")
    present = processor_features()
    features = " ".join(name for name in FEATURES if name in present)
    write(f"{'cpu':24} {cores()} cores, {features or platform.machine()}")
    found = gpus() if may_have_gpu() else {}
    for name, facts in (found or {"gpu": "none that torch can use"}).items():
        write(f"{name:24} {facts}")
    if may_have_gpu() and not any(name.startswith("cuda") for name in found) and (advice := unused_card()):
        write(f"{'advice':24} {advice}")
    encoders = [name for name in ENCODERS if is_encoder(name)]
    write(f"{'encoders':24} {' '.join(encoders)}")
    if "libx264" not in encoders:
        problems.append("libx264 is missing from this build of av")
    for name, folder in installed().items():
        try:
            verify_bundle(read_bundle(folder))
            write(f"{'model ' + name:24} whole, {folder}")
        except OseDiffError as error:
            problems.append(str(error))
    write(f"{'--model auto':24} {choose_model('auto')}")
    for problem in problems:
        say(f"PROBLEM: {problem}")
    sys.exit(1 if problems else 0)


ENCODERS = (
    "libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1", "qtrle", "png", "h264_nvenc", "hevc_nvenc",
    "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv", "h264_videotoolbox", "hevc_videotoolbox", "h264_vaapi",
)  # fmt: skip
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""Of a processor: what the speed of a model hangs on."""

HARDWARE = ("nvenc", "qsv", "videotoolbox", "vaapi")


def gpus() -> dict[str, str]:
    """Return name -> facts of every GPU that torch can use."""
    import torch

    facts = {} if torch.version.hip is None else {"rocm": f"{torch.version.hip}, under the names of CUDA"}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(number)
        facts[f"cuda:{number}"] = f"{card.name}, {card.total_memory / 1e9:.0f} GB"
    if torch.backends.mps.is_available():
        facts["mps"] = f"{torch.mps.recommended_max_memory() / 1e9:.0f} GB of it for the GPU"
    return facts


def unused_card() -> str | None:
    """Return what to do where a driver for a card is here that torch does not use; None where there is none."""
    from image_core.device.choice import graphics_drivers

    drivers = graphics_drivers()
    if not drivers:
        return None
    import torch

    build = "ROCm" if torch.version.hip else "CUDA" if torch.version.cuda else None
    return card_advice(drivers, build, sys.platform)


def card_advice(drivers: Sequence[str], build: str | None, system: str) -> str:
    """Return why a card is not used, and what to do.

    drivers: what they compute with, "CUDA" or "ROCm". build: what this torch is made for; None is CPUs alone.
    """
    wanted = drivers[0]
    maker = {"CUDA": "NVIDIA", "ROCm": "AMD"}[wanted]
    if build is not None and build in drivers:
        variable = {"CUDA": "CUDA_VISIBLE_DEVICES", "ROCm": "HIP_VISIBLE_DEVICES"}[build]
        return (
            f"torch is built for {build} but cannot use the card: is the driver older than this torch, the card left "
            f"out by {variable}, or the container without access to it?"
        )
    usual = ", as pip installs it on Windows" if build is None and system == "win32" else ""
    made = f"for {build}" if build else "for CPUs alone"
    return (
        f"a driver of {maker} is here, but this torch is built {made}{usual}; install torch for {wanted} "
        "(docs/install.md says how)"
    )


def is_encoder(name: str) -> bool:
    """Return whether an encoder can be used here.

    Hardware encoders are built in everywhere and open on few machines.
    """
    import av

    if not name.endswith(HARDWARE):
        return name in av.codecs_available
    try:
        context = av.CodecContext.create(name, "w")
        context.width, context.height, context.time_base = 640, 480, Fraction(1, 25)  # type: ignore[attr-defined]
        formats = context.codec.video_formats or []
        context.pix_fmt = formats[0].name if formats else "yuv420p"  # type: ignore[attr-defined]
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True
