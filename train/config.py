"""Define a recipe as frozen dataclasses: every setting of training, with its default and its check."""

from dataclasses import dataclass, field
from typing import Literal

from image_core.errors import OseDiffError

NEGATIVE_PROMPT = (
    "painting, oil painting, illustration, drawing, art, sketch, cartoon, CG Style, 3D render, unreal engine, "
    "blurring, dirty, messy, worst quality, low quality, frames, watermark, signature, jpeg artifacts, deformed, "
    "lowres, over-smooth"
)
"""What the published training code guides the teacher away from."""


class RecipeError(OseDiffError):
    pass


@dataclass(frozen=True)
class LiteShape:
    """Define the shape of the embedded model: its autoencoder, its UNet and its one timestep.

    widths: UNet channels by depth. prompt_width: of the one stored text embedding.
    """

    latent_channels: int = 32
    encoder_width: int = 64
    encoder_blocks: int = 2
    decoder_width: int = 64
    decoder_blocks: int = 6
    widths: tuple[int, ...] = (64, 96, 128)
    prompt_width: int = 32
    timestep: int = 280


@dataclass(frozen=True)
class Sd21Config:
    """Define the full model.

    draw_latent: train on draws from the posterior of the encoder, as published; False trains on its mode, which
    is what runs. gradient_checkpointing: compute activations twice instead of keeping them.
    """

    base: str = ""
    draw_latent: bool = True
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class StartConfig:
    """Name the weights to start from besides the base.

    generator: what is trained on: a training run (folder or checkpoint), for the lite model also a bundle (name or
    folder), for sd21 also weights in the published layout (osediff.pkl). prior: run of the stage "prior", for the lite
    model: the frozen base of VSD, and where the UNet starts unless `generator` brings a trained one.
    """

    generator: str = ""
    prior: str = ""


@dataclass(frozen=True)
class PoolConfig:
    """Define the pairs that `python -m train.data.pool RECIPE` makes ahead from whole images.

    shards: how often every image is damaged; 0 is no pool, samples are made as they are needed.
    folder: folder of pools; empty is the user's cache.
    mixture: probability of each kind of damage (train/data/damage.py).
    crops: parts of 512 x 512 px that are taken of one image at most.
    overlays: number of photographs with contours painted over them.
    pages: number of pages that hold contours alone.
    lattices: share of lattices, bars that cross at right angles, among the lines of overlays and pages.
    overlay_share: share of overlays among the samples.
    page_share: share of pages among the samples.
    stored: probability that a page or an overlay is only made small and stored as JPEG, as drawings and screens are.
    untouched: probability that a photograph is only made small.
    combed: probability that every other row of the small image is of a moment later, as in interlaced video.
    recoloured: probability that the channels change places.
    squeezed: probability that each channel is squeezed into a part of its range.
    half: probability that an image is made half as large instead of a quarter.
    growth: items after which one more shard takes part; 0 is all shards from the first item on.
    seed: seed of everything that is drawn.
    """

    shards: int = 0
    folder: str = ""
    mixture: dict[str, float] = field(default_factory=lambda: {"video": 1.0})
    crops: int = 4
    overlays: int = 0
    pages: int = 0
    lattices: float = 0.0
    overlay_share: float = 0.0
    page_share: float = 0.0
    stored: float = 0.0
    untouched: float = 0.0
    combed: float = 0.0
    recoloured: float = 0.0
    squeezed: float = 0.0
    half: float = 0.0
    growth: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        chances = {name: getattr(self, name) for name in POOL_CHANCES} | self.mixture
        for name, chance in chances.items():
            if not isinstance(chance, int | float) or not 0 <= chance <= 1:
                raise RecipeError(f"data.pool: {name} is a probability, a number from 0 to 1; got {chance!r}")
        if abs(sum(self.mixture.values()) - 1) > 1e-6:
            raise RecipeError(f"data.pool.mixture must sum to 1, got {sum(self.mixture.values()):g}")
        for name in ("stored", "lattices"):
            if getattr(self, name) and not self.overlays + self.pages:
                raise RecipeError(f"data.pool.{name} is {getattr(self, name):g}, but there are no overlays or pages")
        for share, count in (("overlay_share", self.overlays), ("page_share", self.pages)):
            if getattr(self, share) and not count:
                raise RecipeError(f"data.pool.{share} is {getattr(self, share):g}, but there are none of these images")


POOL_CHANCES = (
    "lattices",
    "overlay_share",
    "page_share",
    "stored",
    "untouched",
    "combed",
    "recoloured",
    "squeezed",
    "half",
)


@dataclass(frozen=True)
class DataConfig:
    """Define where good images and videos are, and how they are degraded.

    folder: of images, with all below it. lists: text files with one image path a line. clips: folder of videos, with
    all below it. clip_share: probability that a sample comes from a video, where images are given too.
    drawn: probability that it is a procedurally generated drawing instead (train/data/drawings.py).
    frames: of a sample; 1 for images. More come from videos, and from images by a moving camera.
    holdout: the last so many images by name (videos, where there are no images) are kept out of training.
    crop_px: edge of a sample. turns: quarter turns beside the mirror. tones: vary them too, by `vary_colors`.
    mixture: probability of each degradation ("light", "medium", "heavy", "video" for a medium one through a video
    encoder, "clean" for none); they sum to one.
    codec: probability that a clip of the others goes through a real video encoder.
    most_bad: so many unreadable or too small files are named and passed over, one more ends the run.
    latent: for the lite model, a file with the block latent of the whole, where the folder is a part of the images;
    else it is measured on them. workers: loader processes; each keeps cache_mb of decoded images.
    """

    folder: str = ""
    lists: tuple[str, ...] = ()
    clips: str = ""
    clip_share: float = 0.5
    drawn: float = 0.0
    frames: int = 1
    holdout: int = 20
    crop_px: int = 128
    turns: bool = False
    tones: bool = False
    mixture: dict[str, float] = field(default_factory=lambda: {"heavy": 1.0})
    codec: float = 1.0
    licence: str = ""
    latent: str = ""
    pool: PoolConfig = PoolConfig()
    most_bad: int = 20
    workers: int = 1
    cache_mb: int = 512

    def __post_init__(self) -> None:
        chances = {"clip_share": self.clip_share, "drawn": self.drawn, "codec": self.codec} | {
            f"mixture.{preset}": chance for preset, chance in self.mixture.items()
        }
        for name, chance in chances.items():
            if not isinstance(chance, int | float) or not 0 <= chance <= 1:
                raise RecipeError(f"data.{name} is a probability, a number from 0 to 1; got {chance!r}")
        if abs(sum(self.mixture.values()) - 1) > 1e-6:
            raise RecipeError(f"data.mixture must sum to 1, got {sum(self.mixture.values()):g}")
        if self.frames < 1:
            raise RecipeError(f"data.frames must be at least 1, got {self.frames}")
        if self.crop_px < 8 or self.crop_px % 8:
            raise RecipeError(f"data.crop_px must be a multiple of 8, the pixels of a latent; got {self.crop_px}")
        for name in ("holdout", "most_bad", "workers", "cache_mb"):
            if getattr(self, name) < 0:
                raise RecipeError(f"data.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class LossConfig:
    """Weigh each part of the generator's loss; a part of weight 0 is left out, and what it would need is not loaded.

    pixel: "mse" or "charbonnier". lpips: with lpips_network "vgg" or "alex", lpips_backbone a file with its
    ImageNet weights (empty: where torch keeps them); or "st-alex", the shift-tolerant one that the package
    stlpips-pytorch brings whole. lpips_px: side of the part of a sample that it sees, each time another; 0 is all, but
    for 8 px of the lite model's. latent: mean absolute distance to the latent of the target (lite only).
    adversarial, feature_matching: of a patch discriminator, which sees "colour" or, so that it asks for no coloured
    rims, "grey" (discriminator). spared: its verdict counts nothing for an image that lost no more than a resize loses,
    wholly for one whose error is larger by this share; 0 spares none. honest: mean square error, relative to a
    resize's, of what is spared.
    warp: between neighbouring frames. grid: sharpness that depends on the place in a block of 8 x 8 pixels.
    beads: points on a lattice of such places. pattern: fine stripes and hatches, more regular than the target.
    stipple: the same, relative to the target's detail.
    contours: edges less straight than the target's.
    balance: the weights of LPIPS, VSD, adversarial and feature_matching are shares of the pixel loss's gradient,
    measured at every step where the two meet, instead of plain factors.
    """

    pixel: Literal["mse", "charbonnier"] = "mse"
    pixel_weight: float = 1.0
    lpips: float = 0.0
    lpips_network: Literal["vgg", "alex", "st-alex"] = "vgg"
    lpips_backbone: str = ""
    lpips_px: int = 0
    latent: float = 0.0
    adversarial: float = 0.0
    feature_matching: float = 0.0
    discriminator: Literal["colour", "grey"] = "colour"
    spared: float = 0.0
    honest: float = 0.0
    warp: float = 0.0
    grid: float = 0.0
    beads: float = 0.0
    pattern: float = 0.0
    stipple: float = 0.0
    contours: float = 0.0
    balance: bool = False

    def __post_init__(self) -> None:
        if self.honest and not self.spared:
            raise RecipeError("loss.honest is the error of what loss.spared spares: set loss.spared, such as 0.12")
        if self.spared and not (self.honest or self.adversarial):
            raise RecipeError("loss.spared does nothing without loss.honest or loss.adversarial")


@dataclass(frozen=True)
class VsdConfig:
    """Define variational score distillation in the latent; weight 0 is off.

    guidance: of the teacher, against negative_prompt. low, high: noise levels t in [low, high) for the generator; the
    critic learns at all. critic: LoRA on "all" layers or, as the published code happens to do, on the "mid" block
    alone. shared: teacher and critic are one UNet with its adapters switched. from_step: pixel losses alone before.
    """

    weight: float = 0.0
    guidance: float = 7.5
    negative_prompt: str = NEGATIVE_PROMPT
    low: int = 20
    high: int = 980
    critic: Literal["all", "mid"] = "all"
    critic_learning_rate: float = 5e-5
    shared: bool = True
    from_step: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1000:
            raise RecipeError(f"vsd.low and vsd.high must be 0 <= low < high <= 1000, got {self.low} and {self.high}")


@dataclass(frozen=True)
class LoopConfig:
    """Define the loop: batch, optimiser, schedule, checkpoints.

    batch: items per process and pass; accumulate: passes per step. schedule: "constant" or "cosine", after a
    linear warm-up. precision: "float32" or "bf16" (float16 is left out: the one step multiplies its rounding by 14.65).

    device: "auto" or "cpu". ema: share of the average kept at each step; 0 keeps no average. keep: the last so many
    checkpoints. *_every: in steps; 0 is never.
    """

    steps: int = 5000
    batch: int = 4
    accumulate: int = 1
    learning_rate: float = 5e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema: float = 0.0
    precision: Literal["float32", "bf16"] = "float32"
    device: Literal["auto", "cpu"] = "auto"
    seed: int = 0
    checkpoint_every: int = 500
    keep: int = 2
    log_every: int = 50
    sample_every: int = 0
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "checkpoint_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"loop.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise RecipeError(f"loop.ema must be in [0, 1), got {self.ema:g}")
        if self.clip_norm <= 0:
            raise RecipeError(f"loop.clip_norm must be above 0, got {self.clip_norm:g}; inf never clips")
        if self.seed < 0:
            raise RecipeError(f"loop.seed must not be negative, got {self.seed}")


@dataclass(frozen=True)
class Recipe:
    """Hold all settings of one run.

    stage: what is learnt; "autoencoder" and "prior" are steps on the way of the lite model.
    """

    name: str = "lite"
    model: Literal["lite", "sd21"] = "lite"
    stage: Literal["generator", "autoencoder", "prior"] = "generator"
    start: StartConfig = StartConfig()
    lite: LiteShape = LiteShape()
    sd21: Sd21Config = Sd21Config()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    vsd: VsdConfig = VsdConfig()
    loop: LoopConfig = LoopConfig()

    def __post_init__(self) -> None:
        self._check_model()
        self._check_losses()

    def _check_model(self) -> None:
        if self.model == "sd21" and self.stage != "generator":
            raise RecipeError(f"stage {self.stage!r} is of the lite model; Stable Diffusion brings its own")
        of_lite = self.start.prior or self.lite != LiteShape() or self.loss.latent or self.data.latent
        if self.model == "sd21" and of_lite:
            raise RecipeError(
                "start.prior, [lite], loss.latent and data.latent are of the lite model; this recipe is of sd21"
            )
        if self.model == "lite" and self.sd21 != Sd21Config():
            raise RecipeError("[sd21] does nothing in a recipe of the lite model; say model = 'sd21' or remove it")

    def _check_losses(self) -> None:
        """Refuse losses that would have no effect: a loss that is silently zero is worse than an error."""
        if self.stage == "prior" and (self.loss != LossConfig() or self.vsd != VsdConfig()):
            raise RecipeError("the stage 'prior' learns to predict noise; [loss] and [vsd] do nothing there")
        if self.stage == "autoencoder" and self.vsd.weight:
            raise RecipeError("VSD moves the UNet, which the stage 'autoencoder' leaves alone; set vsd.weight = 0")
        if self.model == "lite" and self.vsd.weight and not self.start.prior:
            raise RecipeError("VSD needs a frozen base: set start.prior to a run of train/recipes/lite-prior.toml")
        if (self.loop.validate_every or self.loop.sample_every) and not self.data.holdout:
            raise RecipeError("loop.validate_every and sample_every need images kept out: set data.holdout")
        if self.loss.warp and self.data.frames < 2:
            raise RecipeError(f"loss.warp compares neighbouring frames; data.frames is {self.data.frames}")
        least_px = 40 if self.model == "lite" else 32  # of the lite model it sees parts that are smaller by 8
        if self.loss.lpips and self.data.crop_px < least_px:
            raise RecipeError(f"LPIPS needs sides of {least_px} px; data.crop_px is {self.data.crop_px}")
        if self.loss.lpips_px and not 32 <= self.loss.lpips_px <= self.data.crop_px:
            raise RecipeError(
                f"loss.lpips_px is {self.loss.lpips_px}, expected 32 to data.crop_px, {self.data.crop_px}"
            )
        if self.loss.lpips_network == "st-alex" and self.loss.lpips_backbone:
            raise RecipeError("loss.lpips_backbone does nothing with st-alex, whose weights come with its package")
