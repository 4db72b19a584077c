"""Compute scores that need a network, LPIPS and any metric of the package pyiqa, on 8-bit images."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from image_core.errors import CheckpointError, ImageError, ModelNotFoundError
from image_core.images import to_tensor
from image_core.perceptual import LPIPS_LEAST_SIDE_PX, load_lpips
from osediff_video.suffixes import is_image
from osediff_video.types import ImageArray


def lpips_distance(backbone: Path | None = None) -> Callable[[ImageArray, ImageArray], float]:
    """Return LPIPS on AlexNet, NaN for images too small for it. Raises CheckpointError without its weights."""
    network = load_lpips("alex", backbone)

    @torch.inference_mode()
    def distance(result: ImageArray, reference: ImageArray) -> float:
        if min(result.shape[:2]) < LPIPS_LEAST_SIDE_PX:
            return float("nan")
        return float(network(to_tensor([result]), to_tensor([reference])))

    return distance


def pyiqa_score(name: str, parameters: Path | None = None) -> Callable[[ImageArray, ImageArray], float]:
    """Return the named metric of pyiqa (niqe, musiq, maniqa-pipal, dists, ...) as a function of result and reference.

    parameters: of NIQE, a .mat or .npz file, where pyiqa's are not here.
    Raises ModelNotFoundError when pyiqa or a library of the metric is not installed or pyiqa knows no such metric,
    CheckpointError when its weights cannot be had.
    """
    with parameters_as_mat(parameters) as file:
        metric = pyiqa_metric(name, {} if file is None else {"pretrained_model_path": str(file)})
    referenced = metric.metric_mode == "FR"

    @torch.inference_mode()
    def score(result: ImageArray, reference: ImageArray) -> float:
        a, b = ((to_tensor([image]) + 1) / 2 for image in (result, reference))
        return float(metric(a, b) if referenced else metric(a))

    return score


def pyiqa_metric(name: str, settings: dict[str, str]) -> Any:
    """Return the metric object on the CPU. Raises as `pyiqa_score`."""
    try:
        import pyiqa
    except ImportError as error:
        raise ModelNotFoundError(
            f"the metric {name} comes from pyiqa, which is not installed; pip install 'osediff-video[metrics]'"
        ) from error
    if name not in pyiqa.list_models():
        raise ModelNotFoundError(f"pyiqa knows no metric {name!r}; it knows {', '.join(pyiqa.list_models())}")
    try:
        with redirect_stdout(sys.stderr):  # it talks; standard output is for results
            return pyiqa.create_metric(name, device=torch.device("cpu"), **settings)
    except ImportError as error:
        hint = "; pip install 'setuptools<81'" if error.name == "pkg_resources" else "; install it"
        raise ModelNotFoundError(f"the metric {name} of pyiqa needs a library: {error}{hint}") from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the metric {name} has no weights here and pyiqa could not fetch them "
            f"({(str(error) or type(error).__name__).splitlines()[0]}); run it once where the network is, or put them "
            "in pyiqa's cache"
        ) from error


@contextmanager
def parameters_as_mat(path: Path | None) -> Iterator[Path | None]:
    """Write the file as pyiqa reads it: BasicSR keeps the same two arrays as .npz. Raises CheckpointError."""
    if path is not None and not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected the parameters of NIQE, .mat or .npz")
    if path is None or path.suffix.lower() == ".mat":
        yield path
        return
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = arrays["mu_pris_param"], arrays["cov_pris_param"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not the parameters of NIQE; expected a .mat file, or .npz with mu_pris_param and cov_pris_param"
        ) from error
    from scipy.io import savemat

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "niqe.mat"
        savemat(file, {"mu_prisparam": mean, "cov_prisparam": covariance})
        yield file


def frechet_distance(result: Path, reference: Path) -> float:
    """Return pyiqa's FID between all images of two folders.

    Raises as `pyiqa_score`, or ImageError for fewer than two images.
    """
    for folder in (result, reference):
        if not folder.is_dir() or sum(is_image(path) for path in folder.iterdir()) < 2:
            raise ImageError(f"{folder}: FID compares two folders of at least two images each")
    metric = pyiqa_metric("fid", {})
    with redirect_stdout(sys.stderr):
        return float(metric(str(result), str(reference), num_workers=0, batch_size=4, verbose=False))
