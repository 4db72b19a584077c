"""Run the embedded model through OpenVINO on a CPU: the same weights and the same seams.

The model alone takes less time (bfloat16, one core with AMX, 1280 x 720: 174 ms against 228), preparing graphs more:
on 36 frames both engines took the same processor time, so short videos gain nothing. In float32 results are within
one level of 255 of torch's (tests/image_core/test_openvino.py).
"""

import threading

import openvino
import torch
from openvino import CompiledModel, InferRequest, Model
from torch import Tensor, nn

from image_core.autoencoder import LiteAutoencoder, clamped
from image_core.device.openvino_graph import Quantize, write_graphs
from image_core.device.workers import THREADS
from image_core.generator import Generator
from image_core.small_unet import Predicted, SmallUNet

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
VERSION = openvino.__version__.split("-")[0]


class Graph:
    """Run a graph from any thread, on as many threads as torch has there: one in a worker, else all.

    Compiled when it is first run, once for each number of threads.
    """

    def __init__(self, model: Model, precision: str) -> None:
        self.model, self.precision = model, precision
        self._lock, self._local = threading.Lock(), threading.local()
        self._compiled: dict[int, CompiledModel] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the graph's result, (B, C, H, W), which holds until the next call in this thread. inputs: likewise."""
        request = self.request(torch.get_num_threads())
        arrays = [rows_last(tensor).contiguous().float().numpy() for tensor in inputs]
        result = request.infer(arrays, share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(result).permute(0, 3, 1, 2)

    def request(self, threads: int) -> InferRequest:
        known: dict[int, InferRequest] = self._local.__dict__.setdefault("requests", {})
        if threads not in known:
            with self._lock:
                if threads not in self._compiled:
                    self._compiled[threads] = compiled(self.model, self.precision, threads)
            known[threads] = self._compiled[threads].create_infer_request()
        return known[threads]


def compiled(model: Model, precision: str, threads: int) -> CompiledModel:
    """Prepare a graph for callers that have so many threads each."""
    streams = max(1, THREADS.cores() // threads)
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    return openvino.Core().compile_model(model, "CPU", options)


def rows_last(tensor: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B, H, W, C); texts (B, L, D) as they are."""
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


class OpenVinoAutoencoder(nn.Module):
    """Encode and decode as `LiteAutoencoder` does."""

    decoder_sees_image = encodes_noisy = True

    def __init__(self, encode: Graph, decode: Graph) -> None:
        super().__init__()
        self._encode, self._decode = encode, decode

    def encode(self, image: Tensor) -> Tensor:
        """Encode an image as `LiteAutoencoder.encode` does."""
        return self._encode(image).clone()

    def decode(self, latent: Tensor, image: Tensor) -> Tensor:
        """Decode a latent as `LiteAutoencoder.decode` does."""
        return clamped(self._decode(latent, image).clone())


class OpenVinoUNet(nn.Module):
    """Predict noise as `SmallUNet` does, at the one timestep that the graph was written for."""

    def __init__(self, denoise: Graph, like: SmallUNet, timestep: int) -> None:
        super().__init__()
        self._denoise, self.config, self.timestep = denoise, like.config, timestep

    def forward(self, latent: Tensor, timestep: int, text: Tensor) -> Predicted:
        """Predict the noise, as `SmallUNet.forward` does."""
        assert timestep == self.timestep
        return Predicted(self._denoise(latent, text).clone())


def is_runnable(generator: Generator) -> bool:
    """Return whether the graphs cover this model: the embedded ones."""
    return isinstance(generator.autoencoder, LiteAutoencoder) and isinstance(generator.unet, SmallUNet)


def with_openvino(generator: Generator, dtype: torch.dtype, quantize: Quantize | None = None) -> Generator:
    """Return a generator that computes the same through OpenVINO; its weights are taken in float32.

    quantize: see `GraphWriter`.
    """
    autoencoder, unet = generator.autoencoder, generator.unet
    assert isinstance(autoencoder, LiteAutoencoder) and isinstance(unet, SmallUNet)
    models = write_graphs(autoencoder, unet, generator.timestep, quantize)
    encode, denoise, decode = (Graph(models[name], PRECISIONS[dtype]) for name in ("encode", "denoise", "decode"))
    return Generator(
        OpenVinoAutoencoder(encode, decode),
        OpenVinoUNet(denoise, unet, generator.timestep),
        generator.alpha_bar,
        generator.timestep,
    )
