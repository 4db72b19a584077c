"""RAFT as an estimator: two layouts of its weights, any size of image, and clear words for anything else."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_large, raft_small

from cli.main import cli
from image_core.errors import CheckpointError
from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from osediff_video.temporal.flow import motion
from osediff_video.temporal.raft import load_raft, torchvision_names
from tests.support.media_files import read, write_video


def state_of(build, seed=0):
    torch.manual_seed(seed)
    return build(weights=None, progress=False).state_dict()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("raft") / "small.safetensors"
    save_file(state_of(raft_small), path)
    return path


def as_the_authors_name_it(name):
    """torchvision's name in the layout of github.com/princeton-vl/RAFT, as its module tree spells it."""
    for pattern, replacement in (
        ("feature_encoder", "fnet"),
        ("context_encoder", "cnet"),
        (r"net\.convnormrelu\.0", "net.conv1"),
        (r"net\.convnormrelu\.1", "net.norm1"),
        (r"net\.conv\.", "net.conv2."),
        (r"convnormrelu(\d)\.0", r"conv\1"),
        (r"convnormrelu(\d)\.1", r"norm\1"),
        (r"motion_encoder\.convcorr(\d)\.0", r"encoder.convc\1"),
        (r"motion_encoder\.convflow(\d)\.0", r"encoder.convf\1"),
        (r"motion_encoder\.conv\.0", "encoder.conv"),
        (r"recurrent_block\.convgru(\d)\.(conv.)", r"gru.\2\1"),
        (r"mask_predictor\.convrelu\.0", "update_block.mask.0"),
        (r"mask_predictor\.conv\.", "update_block.mask.2."),
    ):
        name = re.sub(pattern, replacement, name)
    return "module." + name


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_the_authors_layout_is_read_as_torchvisions(build, tmp_path):
    ours = state_of(build)
    theirs = {as_the_authors_name_it(name): tensor for name, tensor in ours.items()}
    if build is raft_small:  # its one recurrent unit has no number
        theirs = {
            name.replace("gru.convz1", "gru.convz")
            .replace("gru.convr1", "gru.convr")
            .replace("gru.convq1", "gru.convq"): t
            for name, t in theirs.items()
        }
    else:  # in the authors' blocks the norm of the shortcut has two names
        theirs |= {name.replace("downsample.1", "norm3"): t for name, t in theirs.items() if "downsample.1" in name}
        assert any("cnet.layer2.0.norm3" in name for name in theirs)
    assert "module.fnet.layer1.0.conv1.weight" in theirs and "module.update_block.encoder.convc1.weight" in theirs
    result = torchvision_names(theirs)
    assert result.keys() == ours.keys() and all(torch.equal(result[name], ours[name]) for name in ours)
    torch.save(theirs, tmp_path / "raft-things.pth")
    assert load_raft(tmp_path / "raft-things.pth").network.training is False


@pytest.mark.parametrize("size", [(1, 1), (9, 200), (130, 141), (128, 136)])
def test_a_flow_of_every_size(small, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    estimate = load_raft(small)
    flow = estimate(image, image)
    assert flow.shape == (*size, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()
    deep = estimate(image.astype(np.uint16) * 257, image.astype(np.uint16) * 257)
    assert np.abs(deep - flow).max() < 1e-3
    assert motion(image, image, estimate).confidence.shape == size


def test_what_is_no_raft_is_refused(tmp_path):
    (tmp_path / "words.pth").write_text("not a checkpoint")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    lacking = state_of(raft_small)
    del lacking["update_block.flow_head.conv2.bias"]
    torch.save(lacking, tmp_path / "lacking.pth")
    bent = state_of(raft_small) | {"feature_encoder.conv.bias": torch.zeros(3)}
    torch.save(bent, tmp_path / "bent.pth")
    for name, words in (
        ("none.pth", "no such file"),
        ("words.pth", "not a file of weights"),
        ("list.pth", "holds a list"),
        ("other.pth", "not the weights of RAFT"),
        ("lacking.pth", "missing tensor update_block.flow_head.conv2.bias"),
        ("bent.pth", "expected \\(128,\\)"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}: .*{words}"):
            load_raft(tmp_path / name)


def test_a_video_along_the_motion_of_raft(tmp_path, small):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(3)])
    options = VideoOptions(flow=str(small))
    assert upscale_video(source, tmp_path / "out.mp4", PlainResize(), Encoding(), options).frames == 3
    assert len(read(tmp_path / "out.mp4")) == 3
    words = ["upscale", str(source), "-o", str(tmp_path / "new.mp4"), "--flow", str(tmp_path / "none.pth")]
    outcome = CliRunner().invoke(cli, words)
    assert outcome.exit_code == 1 and "no such file" in outcome.output and not (tmp_path / "new.mp4").exists()
