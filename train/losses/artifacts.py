"""Measure what a learned distance overlooks and eyes do not: seams of blocks, beads, and a hatch instead of texture.

A perceptual network takes a regular pattern for texture, and a generator that knows no texture finds it. All of these
losses look at full resolution. Sharper edges cost nothing in any.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX

WINDOW_PX, LONGEST_PERIOD_PX = 32, 6
USUAL_SHARE = 0.2
FLAT_LAPLACIAN = 0.02  # of two or three levels of 255: below it there is nothing to see
LEAST_DETAIL = 0.01  # amplitude, a level and a half of 255: what a flat area is held against
LEAST_POWER = 1e-9  # of an amplitude far below a level: keeps the slope of the root finite where there is nothing


def block_grid(image: Tensor, target: Tensor) -> Tensor:
    """Return how much sharpness depends on the place in blocks of 8 x 8 pixels, and does not in the target. Scalar.

    image, target: (B, 3, H, W) in [-1, 1], sides multiples of 8, the blocks of the generator from the corner on. By
    phase in the block, along rows and columns: the mean absolute second difference over that of the target; the
    standard deviation of these eight over their mean, 0 for no grid. Differentiable in `image`.
    """
    losses = []
    for axis in (-1, -2):
        own, other = (by_phase(frames.float(), axis) for frames in (image, target))
        ratio = own / other.detach().clamp_min(1e-6)
        losses.append(ratio.std(correction=0) / ratio.mean().clamp_min(1e-6))
    return torch.stack(losses).mean()


def by_phase(image: Tensor, axis: int) -> Tensor:
    """Return the mean absolute second difference along an axis for each place in a block, (8,)."""
    curvature = image.diff(n=2, dim=axis).abs().movedim(axis, -1).flatten(0, -2).mean(0)
    whole = F.pad(curvature, (1, 1))  # the pixel at each end has no second difference
    sums = whole.view(-1, LATENT_PX).sum(0)
    counts = F.pad(torch.ones_like(curvature), (1, 1)).view(-1, LATENT_PX).sum(0)
    return sums / counts


def beads(image: Tensor, target: Tensor) -> Tensor:
    """Return how much points and hollows keep to their places in blocks of 8 x 8 pixels. Scalar.

    image, target: (B, 3, H, W) in [-1, 1], sides multiples of 8 and at least 40, the blocks from the corner on. A
    generator that enlarges four times can put a bright point on every pixel of its input: that lies between rows as
    well as between columns, and no sum over rows or columns shows it. So, of grey, for each of the 64 places: the mean
    Laplacian, whose standard deviation over its mean size is what stands out bright or dark; and the mean size of the
    Laplacian relative to the target's, whose standard deviation over its mean is where all detail sits. Both are 0
    where content does not know of places. Pale texture counts as much as strong: the Laplacian is taken relative to
    the target's around. Differentiable in `image`.
    """
    own, usual = laplacian_of_blocks(image), laplacian_of_blocks(target).detach().abs()
    around = F.avg_pool2d(usual.mean(1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
    own, usual = (blocks / (around + FLAT_LAPLACIAN) for blocks in (own, usual))
    signed, size = own.mean((0, 2, 3)), own.abs().mean((0, 2, 3))
    ratio = size / usual.mean((0, 2, 3)).clamp_min(1e-6)
    bright = signed.std(correction=0) / size.mean().clamp_min(1e-6)
    return bright + ratio.std(correction=0) / ratio.mean().clamp_min(1e-6)


def laplacian_of_blocks(image: Tensor) -> Tensor:
    """Return the Laplacian of grey at each place of the blocks of 8 x 8 pixels, but those at the rim, (B, 64, h, w)."""
    grey = image.float().mean(1, keepdim=True)
    curvature = grey.diff(n=2, dim=-1)[..., 1:-1, :] + grey.diff(n=2, dim=-2)[..., 1:-1]
    rim = LATENT_PX - 1  # the outermost pixels have none
    return F.pixel_unshuffle(curvature[..., rim:-rim, rim:-rim], LATENT_PX)


def regular_pattern(image: Tensor, target: Tensor) -> Tensor:
    """Return the amplitude of fine patterns more regular than the target is there. Scalar.

    image, target: (B, 3, H, W) in [-1, 1], sides of 32 px at least. In windows of 32 px, of grey: the power that stands
    out of its neighbours in the spectrum, at periods below 6 px, beyond the share that stands out in the target (at
    least a fifth: of noise it is a ninth). A hatch or fine stripes stand out, at whatever angle; texture and edges,
    whose power is spread, do not, whatever the target holds in their place. Differentiable in `image`.
    """
    return pattern_of_windows(image, target)[0].mean()


def stipple(image: Tensor, target: Tensor) -> Tensor:
    """Return the same relative to the fine detail of the target in a window: leaves hide what bricks show. Scalar."""
    amplitude, detail = pattern_of_windows(image, target)
    return (amplitude / (detail + LEAST_DETAIL)).mean()


def pattern_of_windows(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each window the amplitude that `regular_pattern` measures, and of the detail of the target; (N,)."""
    own, whole = standing_out(image.float())
    with torch.no_grad():
        other, all_of_it = standing_out(target.float())
        share = (other / all_of_it.clamp_min(LEAST_POWER)).clamp_min(USUAL_SHARE)
    excess = (own - share * whole).relu()
    return (excess + LEAST_POWER).sqrt() - LEAST_POWER**0.5, all_of_it.sqrt()


def standing_out(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each window of 32 px the power of fine detail above its neighbours', and all of it; each (N,).

    A Hann window spreads a pure tone over the bins beside its own, so its neighbours are two bins away.
    """
    windows = image.mean(1).unfold(1, WINDOW_PX, WINDOW_PX // 2).unfold(2, WINDOW_PX, WINDOW_PX // 2)
    windows = windows.reshape(-1, WINDOW_PX, WINDOW_PX)
    taper = torch.hann_window(WINDOW_PX, device=image.device)
    tapered = (windows - windows.mean((1, 2), keepdim=True)) * (taper[:, None] * taper)
    power = torch.fft.fft2(tapered).abs().square() / WINDOW_PX**4
    turns = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]
    around = torch.stack([power.roll(turn, (1, 2)) for turn in turns]).amax(0)
    frequency = torch.fft.fftfreq(WINDOW_PX, device=image.device)
    fine = torch.hypot(frequency[:, None], frequency) > 1 / LONGEST_PERIOD_PX
    return ((power - around).relu() * fine).sum((1, 2)), (power * fine).sum((1, 2))
