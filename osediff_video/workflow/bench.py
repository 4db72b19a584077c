"""Measure a model on this machine: its size, its parts, whole runs beside those of others, and what is fastest here."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from image_core.bundle import Bundle
from image_core.device.estimate import gmac_per_second
from image_core.device.tuned import Tuned, cores, machine, write_tuned
from image_core.device.workers import Crew
from image_core.errors import MediaError
from image_core.generator import Generator
from image_core.images import ImageArray, enlarge, to_tensor
from image_core.models.choice import choose_model
from image_core.models.load import AUTOENCODER_DTYPES, DTYPES, load_generator
from image_core.options import Engine, Precision, UpscaleOptions
from image_core.storage.tensors import TensorFile
from image_core.upscaler import Upscaler
from osediff_video.api import load_upscaler
from osediff_video.workflow.peers import CRF, PRESET, peer_network

COUNTED_PX = 512
"""Multiplications are counted at this size, as the table of the paper has them."""

FRAMES, HEIGHT, WIDTH, SCALE = 72, 180, 320, 4
"""The clip that is made where none is named."""

PEAK = "peak of this process: "
SAY_PEAK = f"""
import re
from pathlib import Path
status = Path("/proc/self/status")
found = re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text()) if status.exists() else None
print({PEAK!r} + (found[1] if found else "unknown"))
"""
"""What the parent is told of a child counts the parent's own memory at the fork, so the child reads its peak itself."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """Hold one whole process, its start included. cpu_s: of all its cores; None where the system does not say."""

    seconds: float
    cpu_s: float | None
    peak_mb: float | None


def bench(
    model: str = "auto",
    *,
    source: Path | None = None,
    against: str | None = None,
    rounds: int = 3,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    fast: bool = False,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Measure a model, and whole runs of `upscale` on a video in alternation with another program.

    source: a video; None makes a clip. against: "plain", the same model in a plain loop, or "peer",
    realesr-animevideov3 in ncnn. fast: without the UNet. Raises ModelNotFoundError, CheckpointError, or MediaError for
    a run that fails.
    """
    if against == "peer":
        peer_network()  # refused now, not after the first run
    choice = choose_model(model, device, precision, report, engine)
    options = UpscaleOptions(fast=fast)
    upscaler = load_upscaler(model, options, device=choice.device, precision=choice.precision, engine=choice.engine)
    row: dict[str, Any] = {
        "machine": machine(),
        "model": choice.bundle.config.name,
        "device": choice.device,
        "precision": choice.precision,
        "engine": choice.engine,
        "fast": fast,
        **size_of(choice.bundle, fast),
    }
    report(f"measuring the parts of {row['model']} at {SCALE * WIDTH} x {SCALE * HEIGHT}")
    dtypes = DTYPES[choice.precision], AUTOENCODER_DTYPES[choice.precision]
    eight_bits = choice.engine == "openvino-int8"
    row["parts"] = parts_of(upscaler, *dtypes, row[f"gmac_{COUNTED_PX}_of"], eight_bits=eight_bits)
    with tempfile.TemporaryDirectory() as folder:
        video = source or write_clip(Path(folder) / "clip.mp4")
        row |= runs_of(video, Path(folder), str(choice.bundle.path), choice.engine, against, rounds, report, fast)
    return row


def size_of(bundle: Bundle, fast: bool = False) -> dict[str, Any]:
    """Return the columns of the paper's table of efficiency: parameters, those that are trained, steps, GMAC.

    fast: the multiplications are counted without the UNet.
    """
    generator = load_generator(bundle)
    counted = gmac(generator)
    if fast:
        del counted["denoise"]
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    adapters = [name for name in bundle.config.files if name.startswith("lora.")]
    trained = sum(int(np.prod(shape)) for name in adapters for shape in TensorFile(bundle.file(name)).shapes.values())
    if not adapters and bundle.config.autoencoder == "lite":
        trained = parameters
    return {
        "parameters_m": round(parameters / 1e6, 2),
        "trained_m": round(trained / 1e6, 2) if trained else None,  # merged adapters cannot be counted
        "steps": 1,
        f"gmac_{COUNTED_PX}": round(sum(counted.values()), 1),
        f"gmac_{COUNTED_PX}_of": {name: round(value, 2) for name, value in counted.items()},
    }


def gmac(generator: Generator) -> dict[str, float]:
    """Return the multiplications of each part for one image of 512 x 512, in 1e9."""
    kind = next(generator.parameters())
    image = torch.zeros(1, 3, COUNTED_PX, COUNTED_PX, dtype=kind.dtype, device=kind.device)
    text = torch.zeros(1, 1, generator.unet.config.cross_attention_dim, dtype=kind.dtype, device=kind.device)
    counted = {}
    with torch.no_grad():
        latent = generator.encode(image)
        for name, part in (
            ("encode", lambda: generator.encode(image)),
            ("denoise", lambda: generator.denoise(latent, text)),
            ("decode", lambda: generator.decode(latent, image)),
        ):
            with FlopCounterMode(display=False) as counter:
                part()
            counted[name] = counter.get_total_flops() / 2 / 1e9
    return counted


def parts_of(
    upscaler: Upscaler,
    dtype: torch.dtype,
    autoencoder_dtype: torch.dtype,
    gmac_512: Mapping[str, float],
    rounds: int = 3,
    eight_bits: bool = False,
) -> dict[str, Any]:
    """Return milliseconds of each part for one image on one core, or on a GPU, and the share of the machine's peak.

    gmac_512: of each part that runs. Each is held against the peak in its own precision. eight_bits: the engine
    multiplies those, whose peak is not known: the share is None.
    """
    images = [picture(0)]
    large = [enlarge(images[0], HEIGHT * SCALE, WIDTH * SCALE)]
    generator, size = upscaler.generator, (HEIGHT * SCALE, WIDTH * SCALE)
    with upscaler.workers.engaged(Crew(1, 1)), torch.inference_mode():
        image = upscaler.padded(to_tensor(large))
        latent = generator.encode(image)
        clean = generator.as_clean(latent)
        work: dict[str, Callable[[], Any]] = {
            "enlarge": lambda: upscaler.enlarged(upscaler.arrived(images), size),
            "encode": lambda: generator.encode(image),
            "denoise": lambda: generator.denoise(latent, upscaler.embedding),
            "decode": lambda: generator.decode(clean, image),
            "whole": lambda: upscaler.draft_batch(images, size, None, False, None, upscaler.workload_for(*size)),
        }
        if not upscaler.options.runs_unet:
            del work["denoise"]
        seconds = {name: median_seconds(call, upscaler.device, rounds) for name, call in work.items()}
        peaks = {kind: gmac_per_second(upscaler.device, kind) for kind in {dtype, autoencoder_dtype}}
    share = size[0] * size[1] / COUNTED_PX**2
    done = {name: value * share for name, value in gmac_512.items()}
    own = {name: peaks[dtype if name == "denoise" else autoencoder_dtype] for name in done}
    used = round(share_of_peak(done, own, sum(seconds[name] for name in done)), 2)
    return {
        "ms": {name: round(1000 * value, 2) for name, value in seconds.items()},
        "peak_gmac_per_s": {str(kind).removeprefix("torch."): round(peak, 1) for kind, peak in peaks.items()},
        "share_of_peak": None if eight_bits else used,
    }


def share_of_peak(done: Mapping[str, float], peaks: Mapping[str, float], seconds: float) -> float:
    """Return the least time that the parts could take over the time that they took.

    done: what each multiplies, in 1e9. peaks: how much of that a second could hold, in its precision.
    """
    return sum(value / peaks[name] for name, value in done.items()) / seconds


def median_seconds(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Return the median time of calls after one that prepares."""
    seconds = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def picture(number: int) -> ImageArray:
    """Return a frame of a clip that moves: waves and grain, (180, 320, 3)."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    waves = np.stack([np.sin((columns + 3 * number) / (5 + 2 * c)) * np.cos(rows / (7 + c)) for c in range(3)], -1)
    grain = np.random.default_rng(number).normal(0, 4, waves.shape)
    return np.clip(128 + 90 * waves + grain, 0, 255).astype(np.uint8)


def write_clip(target: Path, frames: int = FRAMES) -> Path:
    """Write the clip of `picture`, encoded as videos are."""
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=Fraction(24))
        stream.options = {"crf": "20"}
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(frames):
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        writer.mux(stream.encode())
    return target


def runs_of(
    video: Path,
    folder: Path,
    model: str,
    engine: str,
    against: str | None,
    rounds: int,
    report: Report,
    fast: bool = False,
) -> dict[str, Any]:
    """Return the medians of whole runs on a video, in alternation with those of another program."""
    target = folder / "result.mp4"
    ours = (
        "from osediff_video import Encoding, UpscaleOptions, upscale\n"
        f"upscale({str(video)!r}, {str(target)!r}, model={model!r}, engine={engine!r}, overwrite=True,\n"
        f"        options=UpscaleOptions(fast={fast}),\n"
        f"        encoding=Encoding('libx264', {CRF}, {PRESET!r}, 'yuv420p'))"
    )
    programs = {"upscale": ours}
    if against is not None:
        more = f", {model!r}, {fast}" if against == "plain" else ""
        programs[against] = (
            f"from osediff_video.workflow.peers import {against}\n{against}({str(video)!r}, {str(target)!r}{more})"
        )
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(rounds):
        for name, code in programs.items():
            report(f"run {number + 1} of {rounds}: {name}")
            target.unlink(missing_ok=True)
            runs[name].append(whole_process(code))
    frames, megapixels = content(target)
    row: dict[str, Any] = {"video": video.name, "frames": frames, "rounds": rounds}
    for name, several in runs.items():
        seconds = statistics.median(run.seconds for run in several)
        row[name] = {
            "fps": round(frames / seconds, 2),
            "mp_per_s": round(megapixels / seconds, 2),
            **{key: middle([asdict(run)[key] for run in several]) for key in ("seconds", "cpu_s", "peak_mb")},
        }
    if against is not None:
        pairs = zip(runs[against], runs["upscale"], strict=True)
        ratios = [theirs.seconds / own.seconds for theirs, own in pairs]
        row["times_as_fast"] = round(statistics.median(ratios), 2)
    return row


def middle(values: Sequence[float | None]) -> float | None:
    """Return the median, or None where something was not measured."""
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 2) if len(known) == len(values) else None


def whole_process(code: str) -> Run:
    """Run Python code in a process of its own and return what it took. Raises MediaError with its last words."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as words:
        child = subprocess.Popen([sys.executable, "-c", f"{code}\n{SAY_PEAK}"], stdout=words, stderr=words)
        if hasattr(os, "wait4"):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            cpu_s = used.ru_utime + used.ru_stime
        else:
            child.wait()
            cpu_s = None
        seconds = time.perf_counter() - started
        words.seek(0)
        lines = words.read().decode(errors="replace").strip().splitlines() or ["no word of why"]
        if child.returncode:
            raise MediaError(f"a measured run failed with exit code {child.returncode}: {lines[-1]}")
    peak_kb = lines[-1].removeprefix(PEAK)
    return Run(seconds, cpu_s, int(peak_kb) * 1.024e-3 if peak_kb.isdigit() else None)


def content(path: Path) -> tuple[int, float]:
    """Return how many frames a video has, and how many million pixels they are together."""
    with av.open(str(path)) as reader:
        stream = reader.streams.video[0]
        frames = sum(1 for packet in reader.demux(stream) if packet.size)
        return frames, frames * stream.height * stream.width / 1e6


def tune(model: str = "lite", report: Report = lambda _: None, fast: bool = False) -> dict[str, Any]:
    """Find the engine and the number of workers that upscale most frames a second here, and let later runs use them.

    An engine counts only if its image is no further from torch's in float32 than torch's own in the precision that is
    used, or one level of 255. fast: for runs without the UNet, which go by a record of their own.

    Returns the frames a second of everything that was tried, and what was written.
    """
    options = UpscaleOptions(fast=fast)
    exact = load_upscaler(model, options, device="cpu", precision="fp32", engine="torch")([picture(0)])[0]
    allowed, rates = 1, {}
    for engine in engines():
        upscaler = load_upscaler(model, options, device="cpu", engine=engine)
        off = largest_difference(upscaler([picture(0)])[0], exact)
        if engine == "torch":
            allowed = max(allowed, off)
        elif off > allowed:
            report(f"{engine}: its images are {off} levels from those of torch in float32, so it is not chosen")
            continue
        for workers in range(1, cores() + 1):
            rates[engine, workers] = rate_of(upscaler, workers)
            report(f"{engine}, {workers} at once: {rates[engine, workers]:.2f} frames a second")
    engine, workers = max(rates, key=lambda key: rates[key])
    file = write_tuned(Tuned(engine, workers), fast)
    runs = "later runs with --fast" if fast else "later runs"
    report(f"{runs} use {engine} with {workers} at once; delete {file} to undo that")
    tried = {f"{engine} {workers}": round(rate, 2) for (engine, workers), rate in rates.items()}
    return {
        "machine": machine(),
        "model": model,
        "fast": fast,
        "tried_fps": tried,
        "engine": engine,
        "workers": workers,
    }


def engines() -> list[Engine]:
    """Return the engines that are installed, torch first."""
    import importlib.util

    return ["torch", "openvino"] if importlib.util.find_spec("openvino") else ["torch"]


def rate_of(upscaler: Upscaler, workers: int, each: int = 3) -> float:
    """Return the frames a second of so many workers, after one frame for each that prepares them."""
    with upscaler.workers.engaged(Crew(workers, 1)):
        upscaler([picture(number) for number in range(workers)])
        images = [picture(number) for number in range(each * workers)]
        started = time.perf_counter()
        upscaler(images)
        return len(images) / (time.perf_counter() - started)


def largest_difference(one: ImageArray, other: ImageArray) -> int:
    """Return by how many levels two images differ at most."""
    return int(np.abs(one.astype(int) - other).max())
