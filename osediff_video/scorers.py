"""Scores that need a network: LPIPS, and whatever the package pyiqa knows. As functions of 8-bit pictures."""

from collections.abc import Callable
from pathlib import Path

import torch

from image_core.errors import CheckpointError, ModelNotFoundError
from image_core.images import to_tensor
from image_core.perceptual import LEAST_SIDE_PX, load_lpips
from osediff_video.types import Picture


def lpips_distance(backbone: Path | None = None) -> Callable[[Picture, Picture], float]:
    """LPIPS on AlexNet, NaN for pictures too small for it. Raises CheckpointError when its weights are not here."""
    network = load_lpips("alex", backbone)

    @torch.inference_mode()
    def distance(result: Picture, reference: Picture) -> float:
        if min(result.shape[:2]) < LEAST_SIDE_PX:
            return float("nan")
        return float(network(to_tensor([result]), to_tensor([reference])))

    return distance


def pyiqa_score(name: str) -> Callable[[Picture, Picture], float]:
    """The metric of pyiqa of that name (niqe, musiq, maniqa-pipal, clipiqa, dists, ...), of a result and its reference.

    Raises ModelNotFoundError when pyiqa is not installed or knows no such metric, CheckpointError when its weights
    cannot be had.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise ModelNotFoundError(
            f"the metric {name} comes from pyiqa, which is not installed; pip install 'osediff-video[metrics]'"
        ) from error
    if name not in pyiqa.list_models():
        raise ModelNotFoundError(f"pyiqa knows no metric {name!r}; it knows {', '.join(pyiqa.list_models())}")
    try:
        metric = pyiqa.create_metric(name, device="cpu")
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the metric {name} has no weights here and pyiqa could not fetch them "
            f"({str(error).splitlines()[0]}); run it once where the network is, or put them in pyiqa's cache"
        ) from error
    referenced = metric.metric_mode == "FR"

    @torch.inference_mode()
    def score(result: Picture, reference: Picture) -> float:
        a, b = ((to_tensor([image]) + 1) / 2 for image in (result, reference))
        return float(metric(a, b) if referenced else metric(a))

    return score
