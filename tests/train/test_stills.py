"""Clips out of stills: exact to a fraction of a pixel, free of aliasing, inside the image, smooth."""

import numpy as np
import pytest

from train.data.stills import MOST_PIXELS_PER_PIXEL, CameraMotion, camera_path, look, still_clip, view


def wave(x, y):
    return 127.5 + 60 * np.sin(0.45 * x + 0.31 * y) + 40 * np.cos(0.8 * y - 0.5 * x)


@pytest.fixture(scope="module")
def waves():
    y, x = np.mgrid[:200, :220]
    return np.rint(wave(x, y)).astype(np.uint8)[..., None].repeat(3, 2)


def test_frames_are_exact_to_a_fraction_of_a_pixel(waves):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for _ in range(8):
        for seen in camera_path(200, 220, 4, 64, rng):
            expected = wave(*np.tensordot(seen, np.stack([x, y, np.ones_like(x)]), 1))
            error = (look(waves, seen, 64)[..., 0] - expected)[4:-4, 4:-4]
            assert np.sqrt((error**2).mean()) < 1  # of 255; rounding alone is 0.4


def test_what_is_too_fine_vanishes_instead_of_aliasing():
    stripes = np.rint(127.5 + 100 * np.cos(2.9 * np.arange(200))).astype(np.uint8)
    seen = look(np.tile(stripes[None, :, None], (200, 1, 3)), view(64, 1.5, 0, (100, 100)), 64)[6:-6, 6:-6]
    assert np.abs(seen.astype(float) - 127.5).max() < 6


def test_a_standing_camera_shows_the_image_itself(waves):
    seen = look(waves, view(64, 1, 0, (100.5, 90.5)), 64)
    error = np.abs(seen.astype(int) - waves[59:123, 69:133])[3:-3, 3:-3]  # at the border the kernel is cut off
    assert error.mean() < 1 and error.max() <= 4


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 300), (70, 66), (400, 300)])
def test_the_camera_never_leaves_the_image_and_never_jumps(height, width):
    motion = CameraMotion()
    for seed in range(60):
        path = camera_path(height, width, 7, 64, np.random.default_rng(seed), motion)
        assert len(path) == 7
        corners = np.array([(x, y, 1) for x in (0, 63) for y in (0, 63)]).T
        seen = np.stack([view @ corners for view in path])
        assert seen.min() > -1e-6 and seen[:, 0].max() < width - 1 + 1e-6 and seen[:, 1].max() < height - 1 + 1e-6
        density = [np.sqrt(np.linalg.det(view[:, :2])) for view in path]
        assert min(density) > 0.8 and max(density) < MOST_PIXELS_PER_PIXEL * 1.05
        steps = np.diff([view @ (31.5, 31.5, 1) for view in path], axis=0)
        assert np.hypot(*steps.T).max() < 2 * motion.pan_px * MOST_PIXELS_PER_PIXEL
        assert np.abs(np.diff(steps, axis=0)).max() < motion.pan_px  # no jerk
        assert np.ptp(seen, axis=0).max() > 0.01  # nor a camera that stands


def test_cameras_move_by_fractions_of_a_pixel_in_every_way(waves):
    paths = [camera_path(200, 220, 5, 64, np.random.default_rng(seed)) for seed in range(100)]
    moves = np.array([path[1] @ (31.5, 31.5, 1) - path[0] @ (31.5, 31.5, 1) for path in paths])
    assert (np.abs(moves).max(1) > 0.05).mean() > 0.8 and (np.abs(moves) < 1).all(1).mean() > 0.1
    assert (moves > 0).any(0).all() and (moves < 0).any(0).all()
    turns = [np.arctan2(path[1][1, 0], path[1][0, 0]) - np.arctan2(path[0][1, 0], path[0][0, 0]) for path in paths]
    zooms = [np.linalg.det(path[1][:, :2]) / np.linalg.det(path[0][:, :2]) for path in paths]
    assert min(turns) < -1e-3 and max(turns) > 1e-3 and min(zooms) < 0.995 and max(zooms) > 1.005
    clip = still_clip(waves, 5, 64, np.random.default_rng(0))
    assert clip.shape == (5, 64, 64, 3) and np.array_equal(clip, still_clip(waves, 5, 64, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="smaller"):
        still_clip(waves, 5, 208, np.random.default_rng(0))
