"""Makes generator.json: numbers of a tiny model on its way from pixels to pixels, and of one training step.

The weights come from NumPy's generator, whose stream is fixed. To be made again only by code that gives the published
numbers on the published files (tests/oracle).

PYTHONPATH=. python tests/golden/generator.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from image_core.color import adain, wavelet
from image_core.generator import predict_clean
from image_core.images import enlarge, to_images, to_tensor
from image_core.lora import RANK
from image_core.models.load import load_generator
from image_core.models.official import import_official
from image_core.prompts.embedding import Prompts
from image_core.prompts.text_encoder import TextEncoder
from tests.support.media_files import sample_image
from tests.support.tiny_models import official_checkpoint, write_base
from tests.support.tiny_ram import draw
from train.config import Sd21Config
from train.losses import vsd
from train.schedule import alpha_bars
from train.start import build_sd21
from train.state import trainable

PROMPTS = ["a cat, blue sky, ,", "", "harp"]
FOLDER = Path(__file__).parent


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def write_model(folder: Path) -> tuple[Path, Path]:
    """Write a tiny base and its adapters; returns the base and the checkpoint."""
    base = write_base(folder / "base")
    for number, file in enumerate(sorted(base.rglob("*.safetensors"))):
        shapes = {
            name: tuple(tensor.shape) for name, tensor in sorted(load_file(file).items()) if tensor.is_floating_point()
        }
        save_file(load_file(file) | draw(shapes, 10 + number), file, {"format": "pt"})
    content = official_checkpoint(base)
    for number, part in enumerate(("state_dict_unet", "state_dict_vae")):
        tensors = content[part]
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        adapters = {name: 0.3 * tensor for name, tensor in draw(shapes, 20 + number).items()}
        content[part] = adapters
    assert content["rank_unet"] == RANK
    torch.save(content, folder / "osediff.pkl")
    return base, folder / "osediff.pkl"


def few(tensor: Tensor | np.ndarray, count: int = 12) -> list[float]:
    """Return some values, evenly spread, and the mean of all magnitudes."""
    flat = torch.as_tensor(tensor).detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, count).long()
    return [round(float(value), 6) for value in (*flat[places], flat.abs().mean())]


def image() -> np.ndarray:
    return sample_image(3, 64, 96)


@torch.no_grad()
def forward(base: Path, weights: Path, folder: Path, *, merge: bool) -> dict[str, list[float]]:
    """Numbers of every stage, from an image and a prompt."""
    bundle = import_official(base, weights, folder, merge=merge)
    generator, pixels = load_generator(bundle), to_tensor([image()])
    text, latent = Prompts(bundle)(PROMPTS[0]), generator.encode(pixels)
    clean = generator.denoise(latent, text)
    posterior = generator.autoencoder.encode_draw(pixels, drawn(tuple(latent.shape), 5))
    return {
        "alpha_bar": [round(bundle.config.alpha_bar, 9)],
        "latent": few(latent),
        "draw": few(posterior),
        "clean": few(clean),
        "image": few(generator.decode(clean, pixels)),
    }


@torch.no_grad()
def pieces(base: Path) -> dict[str, list[float] | list[list[int]]]:
    """Numbers of what stands around the networks."""
    encoder, other = TextEncoder(base), sample_image(9, 64, 96)
    z, eps = drawn((1, 4, 8, 8), 6), drawn((1, 4, 8, 8), 7)
    return {
        "tokens": [row[:12] for row in encoder.tokens(PROMPTS).tolist()],
        "embedding": few(encoder.encode(PROMPTS)),
        "one_step": few(predict_clean(z, eps, 0.004660095)),
        "adain": few(to_images(adain(to_tensor([image()]), to_tensor([other])), np.uint8)[0].astype(float)),
        "wavelet": few(to_images(wavelet(to_tensor([image()]), to_tensor([other])), np.uint8)[0].astype(float)),
        "enlarged": few(enlarge(image(), 256, 384).astype(float)),
    }


def distillation(base: Path) -> dict[str, list[float]]:
    """Losses and gradients of VSD."""
    score = vsd.Score(UNet2DConditionModel.from_pretrained(base / "unet"), "all", shared=True)
    adapters = {n: p for n, p in sorted(score.unet.named_parameters()) if ".lora_" in n}
    with torch.no_grad():
        for name, tensor in draw({n: tuple(p.shape) for n, p in adapters.items()}, 30).items():
            adapters[name].copy_(0.3 * tensor)
    latent = drawn((2, 4, 8, 8), 31).requires_grad_()
    shared = {"timesteps": torch.tensor([30, 700]), "alpha_bars": alpha_bars(), "embedding": drawn((2, 7, 32), 33)}
    noise = drawn((2, 4, 8, 8), 32)
    loss = vsd.generator_loss(score, latent, noise=noise, negative=drawn((2, 7, 32), 34), guidance=7.5, **shared)
    loss.backward()
    critic = vsd.critic_loss(score, latent, noise=noise, **shared)
    critic.backward()
    moved = torch.cat([p.grad.flatten() for p in adapters.values() if p.grad is not None])
    return {"loss": few(loss, 1), "gradient": few(latent.grad), "critic": few(critic, 1), "critic_gradient": few(moved)}


def step(base: Path, weights: Path) -> dict[str, list[float]]:
    """The generator's first step: loss, norm of the gradient, and where AdamW moves the weights."""
    restorer = build_sd21(Sd21Config(base=str(base)), str(weights))
    low, high = to_tensor([image()]), to_tensor([sample_image(4, 64, 96)])
    _, result = restorer(low, drawn((1, 7, 32), 40), drawn((1, 4, 8, 12), 41))
    loss = F.mse_loss(result, high)
    loss.backward()
    learning = dict(sorted(trainable(restorer).items()))
    optimizer = torch.optim.AdamW(learning.values(), 5e-5, weight_decay=1e-2)
    norm = torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
    gradient = torch.cat([p.grad.flatten() for p in learning.values() if p.grad is not None])
    optimizer.step()
    return {
        "loss": few(loss, 1),
        "norm": few(norm, 1),
        "gradient": few(gradient),
        "weights": few(torch.cat([p.flatten() for p in learning.values()])),
    }


def numbers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Compute everything that is kept."""
    base, weights = write_model(folder)
    return {
        "adapters": forward(base, weights, folder / "adapters", merge=False),
        "merged": forward(base, weights, folder / "merged", merge=True),
        "pieces": pieces(base),
        "distillation": distillation(base),
        "step": step(base, weights),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = json.dumps(numbers(Path(tempfile.mkdtemp())))
    (FOLDER / "generator.json").write_text(result.replace("], ", "],\n "), encoding="utf-8")
