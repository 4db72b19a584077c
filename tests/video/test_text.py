"""Text in images: read into prompts of models that read them, and scored where the reference has some."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from image_core.errors import CheckpointError, ModelNotFoundError
from image_core.images import to_tensor
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from image_core.prompts.prompter import load_prompter
from image_core.prompts.written import Line, load_reader, said_of
from osediff_video.metrics.text import edit_distance, text_kept
from tests.commands.test_cli import run


class Noted:
    """A reader that finds what it was told: lines by the brightness of an image's first pixel."""

    def __init__(self, **texts):
        self.texts = {int(key[1:]): text for key, text in texts.items()}

    def lines(self, image):
        return [Line(text, (n, 0, n + 1, 8)) for n, text in enumerate(self.texts[image[0, 0, 0]])]

    def recognised(self, image, box):
        return self.texts[image[0, 0, 0]][box[0]]


def flat(level):
    return np.full((64, 64, 3), level, np.uint8)


@pytest.mark.parametrize(("a", "b", "distance"), [
    ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("same", "same", 0), ("ab", "ba", 2), ("x", "xyz", 2),
])  # fmt: skip
def test_edit_distance(a, b, distance):
    assert edit_distance(a, b) == distance == edit_distance(b, a)


def test_the_score_is_the_share_of_characters_read_in_the_same_places():
    score = text_kept(Noted(_10=["EXIT", "12 : 30"], _20=["EX1T", ""], _30=["EXIT or not at all", "12:30"], _40=[]))
    assert score(flat(10), flat(10)) == 1
    assert score(flat(20), flat(10)) == pytest.approx(3 / 9)
    assert score(flat(30), flat(10)) == pytest.approx(5 / 9)  # more wrong characters than right ones count as none
    assert np.isnan(score(flat(10), flat(40)))


def test_what_is_written_follows_the_tags(tagging_bundle, monkeypatch):
    monkeypatch.setattr("image_core.prompts.prompter.load_reader", lambda: Noted(_0=["OPEN", "24 h"], _255=[]))
    image = to_tensor([flat(0), flat(255)])
    tags, both = (
        load_prompter(tagging_bundle, UpscaleOptions(prompt_mode=mode, prompt="at night")).describe(image)
        for mode in ("tags", "tags+text")
    )
    assert both[0] == tags[0].removesuffix("at night,") + 'the words "OPEN 24 h", at night,' and both[1] == tags[1]
    monkeypatch.setattr("image_core.prompts.prompter.Prompter.tags", lambda _, image: [["cat"]] * len(image))
    embeddings = [
        load_prompter(tagging_bundle, UpscaleOptions(prompt_mode=mode))(image) for mode in ("tags", "tags+text")
    ]
    assert not torch.equal(embeddings[0][0], embeddings[1][0]) and torch.equal(embeddings[0][1], embeddings[1][1])


def test_of_a_page_of_text_the_largest_lines_are_told():
    lines = [
        Line("small print " * 7, (0, 0, 9, 99)),
        Line("SALE", (10, 0, 60, 99)),
        Line("today only", (60, 0, 80, 99)),
    ]
    assert said_of(lines) == ['the words "SALE today only"'] and said_of([]) == []
    assert said_of([Line("x" * 200, (0, 0, 9, 9))]) == [f'the words "{"x" * 80}"']
    assert said_of(lines[:2]) == ['the words "SALE"']


def test_models_that_read_no_prompt_and_machines_without_a_reader_say_so(tagging_bundle, tmp_path, monkeypatch):
    Image.fromarray(flat(9)).save(tmp_path / "a.png")
    words = ["image", tmp_path / "a.png", "-o", tmp_path / "b.png", "--prompt-mode", "tags+text", "--model"]
    assert "the model lite has no tagger" in run(*words, "lite", code=1)
    load_reader.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert "pip install 'osediff-video[ocr]'" in run(*words, tagging_bundle.path, code=1)
    assert "pip install 'osediff-video[ocr]'" in run("eval", tmp_path / "a.png", tmp_path / "a.png", "--text", code=1)
    with pytest.raises(ModelNotFoundError):
        text_kept()


def test_lite_has_no_tagger_whatever_is_written(monkeypatch):
    monkeypatch.setattr("image_core.prompts.prompter.load_reader", lambda: pytest.fail("nothing to read for"))
    from image_core.models.catalogue import find_model

    with pytest.raises(CheckpointError, match="no tagger"):
        options = UpscaleOptions(prompt_mode="tags+text")
        load_upscaler(find_model("lite"), options, device=torch.device("cpu"), dtype=torch.float32)


def sign(text):
    page = Image.new("RGB", (240, 64), (250, 250, 245))
    ImageDraw.Draw(page).text((10, 14), text, (20, 20, 40), ImageFont.load_default(30))
    return page


def test_real_networks_read_a_sign_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("rapidocr", reason="needs the extra ocr")
    load_reader.cache_clear()
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asks the network"))
    page = sign("PLATFORM 9")
    assert "".join(load_reader().lines(np.asarray(page))[0].text.split()) == "PLATFORM9"
    page.save(tmp_path / "good.png")
    page.resize((15, 4)).resize(page.size).save(tmp_path / "bad.png")
    assert text_kept()(np.asarray(page), np.asarray(page)) == 1 and np.isnan(text_kept()(flat(9), flat(9)))
    worse = run("eval", tmp_path / "bad.png", tmp_path / "good.png", "--text")
    assert float(next(line for line in worse.splitlines() if line.startswith("text")).split()[1]) < 0.5
