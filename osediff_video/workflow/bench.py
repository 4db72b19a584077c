"""Measure a model on this machine: its size, its parts, and whole runs beside those of another program."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from image_core.bundle import Bundle
from image_core.device.estimate import gmac_per_second
from image_core.device.tuned import machine
from image_core.device.workers import Crew
from image_core.generator import Generator
from image_core.images import enlarge, to_tensor
from image_core.models.choice import choose_model
from image_core.models.load import AUTOENCODER_DTYPES, DTYPES, load_generator
from image_core.options import Engine, Precision, UpscaleOptions
from image_core.storage.tensors import TensorFile
from image_core.upscaler import Upscaler
from osediff_video.api import load_upscaler
from osediff_video.workflow.bench_clip import HEIGHT, SCALE, WIDTH, picture, write_clip
from osediff_video.workflow.peers import peer_network
from osediff_video.workflow.whole_runs import runs_of

COUNTED_PX = 512
"""Multiplications are counted at this size, as the table of the paper has them."""

Report = Callable[[str], None]


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
