"""`osediff train` as it is typed."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import cli
from tests.support.train_recipes import tiny, write_images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def test_the_command_trains_exports_and_upscale_takes_it(images, tmp_path):
    tiny(tmp_path, images)
    file, folder = str(tmp_path / "tiny.toml"), str(tmp_path / "run")
    words = [file, "--output", folder, "--set", f"data.folder={images.as_posix()!r}"]
    checked = CliRunner().invoke(cli, ["train", *words, "--check"])
    assert checked.exit_code == 0 and "a step:" in checked.output
    (tmp_path / "card.json").write_text('{"summary": "For tests.", "limits": "Knows nothing."}')
    exported = ["--export", str(tmp_path / "model"), "--card", str(tmp_path / "card.json"), "--commit", "0123abc"]
    result = CliRunner().invoke(cli, ["train", *words, *exported])
    assert result.exit_code == 0 and "images_per_s" in result.output and "model: written" in result.output
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / "in.png")
    used = CliRunner().invoke(cli, ["image", str(tmp_path / "in.png"), "--model", str(tmp_path / "model")])
    assert used.exit_code == 0, used.output
    assert Image.open(tmp_path / "in_x4.png").size == (96, 80)
    assert "For tests." in used.output
    shown = CliRunner().invoke(cli, ["models", "show", str(tmp_path / "model")])
    assert {"limits: Knows nothing.", "commit: 0123abc"} <= set(shown.output.splitlines())
    assert "  data:" in shown.output and "samples_seen: " in shown.output
    (tmp_path / "card.json").write_text("[]")
    refused = CliRunner().invoke(cli, ["train", *words, *exported])
    assert refused.exit_code == 1 and "expected a JSON object" in refused.output
    again = CliRunner().invoke(cli, ["train", *words, "--set", "loss.latent=0.3"])
    assert again.exit_code == 1 and "another recipe" in again.output
