"""Name what an image shows with RAM, the tagger of the paper, on timm's Swin and torch's attention.

Recognize Anything, https://arxiv.org/abs/2306.03514; with the adapters of SeeSR's DAPE folded in, it recognises
degraded images too, https://arxiv.org/abs/2311.16518. `image_core/prompts/ram.py` reads the published files.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.architecture import MAX_WIDTH, first_line
from image_core.bundle import TAGGER_FILES
from image_core.errors import CheckpointError
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import Rule, check, list_of, shown, whole
from image_core.storage.tensors import TensorFile, fill

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as the Swin was trained."""

TAG_LIST, THRESHOLDS = TAGGER_FILES[2:]


@dataclass(frozen=True)
class TaggerConfig:
    """Hold the geometry.

    embed_dim to window: the Swin's. label_dim: width of labels and image features; hidden,
    feed_forward: of the head. head_heads: attention heads of the head, which no tensor's shape tells."""

    tags: int
    embed_dim: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (6, 12, 24, 48)
    window: int = 12
    image_px: int = 384
    label_dim: int = 512
    hidden: int = 768
    feed_forward: int = 3072
    layers: int = 2
    head_heads: int = 4


class HeadLayer(nn.Module):
    """Let labels look at the image, then think for themselves. Post-norm; labels do not see each other."""

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        width, seen = config.hidden, config.label_dim
        self.attention = nn.MultiheadAttention(width, config.head_heads, kdim=seen, vdim=seen, batch_first=True)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.widen, self.narrow = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, labels: Tensor, image: Tensor) -> Tensor:
        """Update labels from the image.

        labels: (B, N, hidden). image: (B, L, label_dim). Returns (B, N, hidden).
        """
        labels = self.attention_norm(labels + self.attention(labels, image, image, need_weights=False)[0])
        return self.norm(labels + self.narrow(F.gelu(self.widen(labels))))


class Tagger(nn.Module):
    """Name what an image shows of a fixed list of tags.

    names: one for each output of the head, in order. thresholds: (N,), the probability above which a tag is on.
    """

    def __init__(self, config: TaggerConfig, names: tuple[str, ...], thresholds: Tensor) -> None:
        from timm.models.swin_transformer import SwinTransformer

        super().__init__()
        self.config, self.names = config, names
        self.thresholds = thresholds.float()  # no buffer: a cast to half precision must not move them
        self.visual_encoder = SwinTransformer(
            img_size=config.image_px,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.heads,
            window_size=config.window,
            num_classes=0,
        )
        self.image_proj = nn.Linear(config.embed_dim * 2 ** (len(config.depths) - 1), config.label_dim)
        self.label_embed = nn.Parameter(torch.zeros(config.tags, config.label_dim))
        self.wordvec_proj = nn.Linear(config.label_dim, config.hidden)
        self.layers = nn.ModuleList(HeadLayer(config) for _ in range(config.layers))
        self.fc = nn.Linear(config.hidden, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Score all tags for images.

        image: (B, 3, P, P), as `prepare` returns it. Returns logits, (B, N).
        """
        seen = self.visual_encoder.forward_features(image).flatten(1, 2)
        image = self.image_proj(torch.cat([seen.mean(1, keepdim=True), seen], 1))
        labels = F.relu(self.wordvec_proj(self.label_embed)).expand(len(image), -1, -1)
        for layer in self.layers:
            labels = layer(labels, image)
        return self.fc(labels).squeeze(-1)

    def prepare(self, image: Tensor) -> Tensor:
        """Prepare images for the network.

        image: (B, 3, H, W) in [-1, 1]. Returns (B, 3, P, P), squeezed to a square and normalised for the Swin.
        """
        size = (self.config.image_px, self.config.image_px)
        # no antialias: the published model was run on torchvision before 0.17, which had none for tensors
        small = F.interpolate(image.float() * 0.5 + 0.5, size, mode="bilinear", align_corners=False, antialias=False)
        mean, std = (torch.tensor(values, device=image.device).view(1, 3, 1, 1) for values in (MEAN, STD))
        return (small - mean) / std

    @torch.inference_mode()
    def tags(self, image: Tensor) -> list[list[str]]:
        """Name what images show.

        image: (B, 3, H, W) in [-1, 1], the enlarged low-quality image. Returns the tags of each, in list order.
        """
        parameter = self.label_embed
        logits = self(self.prepare(image).to(parameter.device, parameter.dtype))
        on = logits.float().sigmoid().cpu() > self.thresholds
        return [[self.names[index] for index in row.nonzero().flatten().tolist()] for row in on]

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """Write the weights in `dtype`, the geometry and both lists into a new folder `tagger` in `folder`."""
        folder = folder / "tagger"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1) + "\n", encoding="utf-8")
        (folder / TAG_LIST).write_text("\n".join(self.names) + "\n", encoding="utf-8")
        (folder / THRESHOLDS).write_text("".join(f"{value!r}\n" for value in self.thresholds.tolist()), "utf-8")
        save_file({key: t.to(dtype).contiguous() for key, t in self.state_dict().items()}, folder / "model.safetensors")


def read_lists(folder: Path, count: int) -> tuple[tuple[str, ...], Tensor]:
    """Read the names and thresholds (count,) beside the weights. Raises CheckpointError saying what does not fit."""
    lines = {}
    for file, what in ((TAG_LIST, "the tags' names"), (THRESHOLDS, "their thresholds")):
        try:
            lines[file] = (folder / file).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{folder / file}: missing; {what} must lie beside the weights, one a line "
                "(ram/data/ of the recognize-anything repository holds the file)"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{folder / file}: cannot be read: {error}") from error
        if len(lines[file]) != count:
            raise CheckpointError(
                f"{folder / file}: {len(lines[file])} lines, but the head has {count} outputs; "
                "take the list that belongs to these weights"
            )
    values = []
    for number, line in enumerate(lines[THRESHOLDS], 1):
        try:
            values.append(float(line))
        except ValueError as error:
            raise CheckpointError(
                f"{folder / THRESHOLDS}: line {number}: expected a number, got {shown(line)}"
            ) from error
        if not 0 <= values[-1] <= 1:
            raise CheckpointError(f"{folder / THRESHOLDS}: line {number}: expected 0 to 1, got {shown(line)}")
    return tuple(lines[TAG_LIST]), torch.tensor(values, dtype=torch.float32)


CONFIG: Mapping[str, Rule] = {
    "tags": whole(1, 100_000),
    "embed_dim": whole(1, MAX_WIDTH),
    "depths": list_of(whole(1, 64), 1, 4),
    "heads": list_of(whole(1, 256), 1, 4),
    "window": whole(1, 64),
    "image_px": whole(32, 1024),
    "label_dim": whole(1, MAX_WIDTH),
    "hidden": whole(1, MAX_WIDTH),
    "feed_forward": whole(1, 4 * MAX_WIDTH),
    "layers": whole(1, 32),
    "head_heads": whole(1, 64),
}
"""Of tagger/config.json."""


def load_tagger(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tagger:
    """Read what `Tagger.save` wrote, ready for inference. Raises CheckpointError."""
    path = folder / "config.json"
    values = read_object(path, "settings")
    check(values, CONFIG, str(path), needed=tuple(CONFIG))
    config = TaggerConfig(**{**values, "depths": tuple(values["depths"]), "heads": tuple(values["heads"])})
    return build_tagger(config, TensorFile(folder / "model.safetensors"), folder, folder).to(device, dtype)


def build_tagger(config: TaggerConfig, tensors: Mapping[str, Tensor], lists: Path, where: Path) -> Tagger:
    """Fill a tagger, names and shapes checked both ways. lists: folder of the two lists. Raises CheckpointError."""
    from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention

    names, thresholds = read_lists(lists, config.tags)
    if sum(config.depths) + config.layers > len(tensors):
        raise CheckpointError(f"{where}: speaks of more layers than there are tensors of weights, {len(tensors)}")
    try:
        with torch.device("meta"):
            tagger = Tagger(config, names, thresholds)
    except Exception as error:  # whatever the libraries make of numbers that do not fit together
        raise CheckpointError(f"{where}: the tagger's settings do not fit together: {first_line(error)}") from error
    fill(tagger, tensors, f"{where}: tagger")
    for module in tagger.modules():
        if isinstance(module, WindowAttention | SwinTransformerBlock):
            for name, buffer in list(module.named_buffers(recurse=False)):
                if buffer.is_meta:
                    module.register_buffer(name, torch.empty_like(buffer, device="cpu"), persistent=False)
            module.init_non_persistent_buffers()  # what meta tensors could not hold: window indices and masks
    return tagger.requires_grad_(False).eval()
