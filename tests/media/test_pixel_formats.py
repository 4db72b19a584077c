"""What the result does not hold of depth, chroma and colour tags is said before work."""

import numpy as np
import pytest

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.writing.encoder import plan_encoder
from osediff_video.types import ColorTags
from tests.support.media_files import copy, info, sample_image, write_video

RGB = ColorTags(0, 2, 2, True)


@pytest.mark.parametrize(
    ("source", "suffix", "codec", "pix_fmt", "said"),
    [
        ({"pix_fmt": "yuv420p"}, ".mp4", None, "yuv420p", []),
        ({"pix_fmt": "yuv420p10le", "bit_depth": 10}, ".mp4", None, "yuv420p10le", []),
        ({"pix_fmt": "yuv444p"}, ".mp4", None, "yuv420p", ["4:4:4 is stored as 4:2:0; --pix-fmt yuv444p"]),
        ({"pix_fmt": "yuv444p"}, ".mkv", "ffv1", "yuv444p", []),
        ({"pix_fmt": "gray"}, ".mp4", None, "yuv420p", []),
        ({"pix_fmt": "gbrp", "color": RGB}, ".mp4", None, "yuv420p", ["RGB is stored as 4:2:0"]),
        ({"pix_fmt": "yuv444p12le", "bit_depth": 12}, ".mov", "prores", "yuv422p10le", ["12 bits", "4:4:4"]),
        ({"pix_fmt": "yuv422p12le", "bit_depth": 12}, ".mkv", "x265", "yuv420p10le", ["yuv422p12le keeps", "4:2:2"]),
        ({"pix_fmt": "rgba64le", "bit_depth": 16, "color": RGB, "alpha": True}, ".mov", None, "yuva444p10le", ["16"]),
        ({"pix_fmt": "yuva444p10le", "bit_depth": 10, "alpha": True}, ".webm", None, "yuva420p", ["10 bits", "4:4:4"]),
        ({"pix_fmt": "yuv420p10le", "bit_depth": 10}, ".webm", None, "yuv420p10le", []),
        ({"pix_fmt": "yuv420p10le", "bit_depth": 10}, ".webm", "vp9", "yuv420p", ["10 bits a sample are stored as 8"]),
        ({"pix_fmt": "rgba64le", "bit_depth": 16, "color": RGB, "alpha": True}, ".mkv", None, "gbrap16le", []),
    ],
)  # fmt: skip
def test_depth_and_chroma_that_change_are_losses(source, suffix, codec, pix_fmt, said):
    plan = plan_encoder(info(**source), 64, 48, Encoding(codec=codec), suffix)
    assert plan.pix_fmt == pix_fmt and len(plan.losses) == len(said), plan.losses
    assert all(words in loss for words, loss in zip(said, plan.losses, strict=True))
    assert set(plan.losses) <= set(plan.notes)


def test_strict_counts_what_the_encoder_cannot_hold(tmp_path):
    source = write_video(tmp_path / "in.mkv", [0, 512, 1024], pix_fmt="yuv444p")
    with pytest.raises(OutputError, match="4:2:0"):
        copy(source, tmp_path / "out.mp4", strict=True)
    copy(source, tmp_path / "full.mp4", Encoding(pix_fmt="yuv444p"), strict=True)


@pytest.mark.parametrize(("suffix", "codec"), [(".mov", "prores"), (".mkv", "ffv1"), (".webm", None), (".mp4", "x264")])
def test_hdr_keeps_its_tags_and_depth(tmp_path, suffix, codec):
    images = [sample_image(number, dtype=np.uint16) for number in range(3)]
    tags = (9, 1, 9, 16)
    source = write_video(
        tmp_path / "in.mkv", [0, 512, 1024], codec="ffv1", pix_fmt="yuv420p10le", tags=tags, images=images
    )
    result = copy(source, tmp_path / f"out{suffix}", Encoding(codec=codec))
    found = probe(result.target)
    assert found.color == ColorTags(9, 9, 16, False) and found.bit_depth == 10 and result.verification.ok
