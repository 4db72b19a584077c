"""The same frames become the same packets in every process, whatever lay in its memory before."""

import json
import os
import subprocess
import sys

import pytest

from osediff_video.encoding import Encoding
from osediff_video.media.writing import encoder
from tests.support.media_files import info

SCRIPT = """
import hashlib, io, json, sys
import av, cv2, numpy as np

codec, options = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
wide = cv2.GaussianBlur(rng.uniform(0, 255, (480, 640, 3)), (0, 0), 3) * 6 - 640
wide += cv2.resize(rng.uniform(0, 255, (6, 8, 3)), (640, 480))
with av.open(io.BytesIO(), "w", format="matroska") as container:
    stream = container.add_stream(codec, rate=25, options=options)
    stream.width, stream.height, stream.pix_fmt, packets = 528, 432, "yuv420p", []
    for number in range(10):
        part = wide[number : number + 432, 3 * number : 3 * number + 528]
        image = np.clip(part + rng.normal(0, 4, part.shape), 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += stream.encode(frame)
    packets += stream.encode(None)
print(hashlib.sha256(b"".join(bytes(packet) for packet in packets)).hexdigest())
"""


@pytest.mark.parametrize("codec", ["libx264", pytest.param("libx265", marks=pytest.mark.slow)])
def test_packets_do_not_depend_on_what_memory_held_before(codec):
    """glibc fills memory with the pattern that MALLOC_PERTURB_ names; elsewhere the runs are equal anyway."""
    plan = encoder.plan_encoder(info(), 528, 432, Encoding(codec=codec), ".mkv")
    words = json.dumps([codec, dict(plan.options)])
    made = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, words],
            env=os.environ | {"MALLOC_PERTURB_": pattern},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for pattern in ("85", "170", "255")
    ]
    assert len(set(made)) == 1


@pytest.mark.parametrize(("features", "params"), [({"avx2", "avx512f"}, "asm=avx2"), ({"avx2"}, None)])
def test_x264_goes_without_its_avx_512_code(monkeypatch, features, params):
    """It decides by memory that nobody wrote; other processors have no such code, and may have no AVX2."""
    monkeypatch.setattr(encoder, "processor_features", lambda: features)
    options = dict(encoder.plan_encoder(info(), 64, 48, Encoding(), ".mkv").options)
    assert options.get("x264-params") == params
    own = Encoding(options={"x264-params": "aq-mode=2"})
    words = dict(encoder.plan_encoder(info(), 64, 48, own, ".mkv").options)["x264-params"]
    assert words == ":".join(filter(None, (params, "aq-mode=2")))
