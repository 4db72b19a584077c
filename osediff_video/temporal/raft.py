"""Estimate motion with RAFT (Teed and Deng, ECCV 2020): torchvision's network, weights from a file."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.models.optical_flow import RAFT, raft_large, raft_small

from image_core.device.memory import attempt, give_back_cache
from image_core.errors import CheckpointError
from image_core.images import pad_to_multiple, to_tensor
from image_core.storage.tensors import fill, read_checkpoint
from osediff_video.temporal.flow import Flow, dis_flow
from osediff_video.types import ImageArray

RAFT_LEAST_SIDE_PX = 128
"""What the coarsest level of its correlation pyramid needs."""

MOST_SIDE_PX = 512
"""Its table of all correlations grows with the square of the pixels: 4.2 GB at 1080p, 67 GB at 4K."""

UPDATES = 12

PRINCETON = (
    # the authors' names, and torchvision's for the same tensors, in the order in which to rename
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"(_encoder\.)conv1\.", r"\1convnormrelu.0."),
    (r"(_encoder\.)norm1\.", r"\1convnormrelu.1."),
    (r"(_encoder\.)conv2\.", r"\1conv."),
    (r"(layer\d\.\d\.)conv(\d)\.", r"\1convnormrelu\2.0."),
    (r"(layer\d\.\d\.)norm(\d)\.", r"\1convnormrelu\2.1."),
    (r"^update_block\.encoder\.convc", "update_block.motion_encoder.convcorr"),
    (r"^update_block\.encoder\.convf", "update_block.motion_encoder.convflow"),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv."),
    (r"(motion_encoder\.conv\w*)\.", r"\1.0."),
    (r"^update_block\.gru\.(conv[zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.\1."),
    (r"^update_block\.gru\.(conv[zrq])\.", r"update_block.recurrent_block.convgru1.\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


class Raft:
    """Estimate motion with a network, as an Estimator.

    network: on its device, ready for inference.
    report: called with a sentence when memory runs out.
    """

    def __init__(self, network: RAFT, report: Callable[[str], None] = lambda _: None) -> None:
        self.network, self.report = network, report
        self.has_room = True

    def __call__(self, source: ImageArray, target: ImageArray) -> Flow:
        """Find the motion as every Estimator, at 512 px a side at most; by DIS from the first shortage of memory on."""
        if self.has_room:
            flow, self.has_room = attempt(lambda: self.flow(source, target))
            if flow is not None:
                return flow
            give_back_cache(next(self.network.parameters()).device)
            self.report("out of memory: motion is estimated by DIS instead of RAFT from here on")
        return dis_flow(source, target)

    @torch.inference_mode()
    def flow(self, source: ImageArray, target: ImageArray) -> Flow:
        """Run the network. Large images are made smaller first, small ones grow by repeating their border."""
        height, width = source.shape[:2]
        rows, columns = fitting_size(height, width)
        if (rows, columns) != (height, width):
            source, target = (cv2.resize(i, (columns, rows), interpolation=cv2.INTER_AREA) for i in (source, target))
        device = next(self.network.parameters()).device
        tensors = (to_tensor([image]) for image in (source, target))
        first, second = (pad_to_multiple(tensor, 8, RAFT_LEAST_SIDE_PX).to(device) for tensor in tensors)
        predicted = self.network(first, second, num_flow_updates=UPDATES)[-1][0, :, :rows, :columns]
        flow = predicted.permute(1, 2, 0).contiguous().cpu().numpy()
        if (rows, columns) == (height, width):
            return flow
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow *= np.array((width / columns, height / rows), np.float32)
        return flow


def fitting_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which an image is looked at: its longer side 512 px at most."""
    share = min(1.0, MOST_SIDE_PX / max(height, width))
    return max(1, round(height * share)), max(1, round(width * share))


def load_raft(path: Path, device: torch.device | str = "cpu", report: Callable[[str], None] = lambda _: None) -> Raft:
    """Read weights of RAFT, large or small, in torchvision's layout or that of the authors (raft-things.pth and so on).

    path: a .pth or .safetensors file. Raises CheckpointError when it is neither or incomplete.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected weights of RAFT (raft_large or raft_small of torchvision, or "
            "raft-things.pth and its like), or --flow dis, which needs none"
        )
    tensors = torchvision_names(read_checkpoint(path))
    network = (raft_large if "mask_predictor.conv.weight" in tensors else raft_small)(weights=None, progress=False)
    fill(network, tensors, f"{path}: not the weights of RAFT, large or small")
    return Raft(network.requires_grad_(False).eval().to(device), report)


def torchvision_names(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename the authors' layout to torchvision's names; torchvision's own stays unchanged."""
    if not any(re.match(r"(module\.)?fnet\.", name) for name in tensors):
        return tensors
    renamed = {}
    for name, tensor in tensors.items():
        if re.search(r"layer\d\.\d\.norm3\.", name) and name.replace("norm3", "downsample.1") in tensors:
            continue  # the same module under a second name
        for pattern, replacement in PRINCETON:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
