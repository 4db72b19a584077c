"""The page in a real browser: Chromium, driven by Playwright, before a real server with the embedded model."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from osediff_video.job.folder import job_folder
from tests.support.media_files import read_times, write_video

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
ROOT = Path(__file__).parent.parent.parent
MARKUP = "<img src=x onerror=alert(1)> ${1+1} {{value}}.mp4"
SHORT_MS, LONG_MS = 20_000, 90_000


@pytest.fixture(scope="module")
def chromium():
    pytest.importorskip("gradio", reason="needs gradio: pip install '.[gui]'")
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the path")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_video(folder / "clip.mp4", [512 * n for n in range(130)], size=(36, 64))
    write_video(folder / MARKUP, [512 * n for n in range(12)], size=(36, 64))
    (folder / "broken.mp4").write_bytes(b"no video at all" * 100)
    return folder


@contextmanager
def serving(films, home, slower_s=0.0):
    """Run the page as a process of its own; give its address and the process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    words = [sys.executable, "-m", "tests.support.page_server", films, home / "outside", slower_s]
    with subprocess.Popen([*map(str, words)], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert not (home / "outside").exists(), (home / "outside").read_text()


@pytest.fixture(scope="module")
def served(films, tmp_path_factory):
    with serving(films, tmp_path_factory.mktemp("home"), slower_s=0.05) as (address, _):
        yield address


@contextmanager
def looking(chromium, address):
    """Open the page in a fresh browser; at the end nothing outside was asked, and no script has failed."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(SHORT_MS)
    asked, failures = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: dialog.accept() if dialog.type == "confirm" else failures.append(dialog.message))
    page.goto(address)
    page.get_by_label("or name a file").wait_for()
    yield page
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not foreign and not failures
    context.close()


@pytest.fixture
def page(chromium, served):
    with looking(chromium, served) as page:
        yield page


def open_source(page, name, size="x2"):
    page.get_by_role("combobox", name="Size").fill(size)
    page.get_by_role("combobox", name="Size").press("Enter")
    page.get_by_label("or name a file").fill(name)
    page.get_by_label("or name a file").press("Enter")


def shown_in(box, words, timeout=SHORT_MS):
    box.filter(has_text=words).wait_for(timeout=timeout)


def times(page):
    return page.evaluate(
        "['after', 'before'].map(name => document.querySelector('.stage video.' + name))"
        ".map(video => [video.currentTime, video.readyState, video.paused])"
    )


def test_a_dropped_video_is_shown_previewed_and_wiped_in_step(page, films):
    page.locator("input[type=file]").set_input_files(films / "clip.mp4")
    shown_in(page.locator("table.facts"), "64 x 36, h264, 8 bit")
    page.wait_for_function("[...document.querySelectorAll('.strip img')].filter(i => i.naturalWidth).length === 12")
    page.get_by_label("Stretch begins, in seconds").fill("1.7")
    page.get_by_label("Stretch ends, in seconds").fill("2.1")
    page.get_by_role("button", name="Preview").click()
    page.locator(".stage").wait_for(timeout=LONG_MS)
    shown_in(page.locator("#estimate"), "frames a second; the whole takes about")
    page.wait_for_function("document.querySelector('.stage video.after').readyState === 4")
    assert page.evaluate("document.querySelector('.stage video.after').duration") == pytest.approx(0.4, abs=0.01)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.stage video.after').currentTime > 0.1")
    split = page.get_by_label("Wipe between before and after")
    apart, moved = [], []
    for share in ("20", "80"):
        split.fill(share)
        page.wait_for_timeout(100)
        (lead, follow) = times(page)
        apart.append(abs(lead[0] - follow[0]))
        moved.append(lead[0])
        clip = page.evaluate("getComputedStyle(document.querySelector('video.before')).clipPath")
        assert f"{100 - int(share)}%" in clip and not lead[2] and not follow[2]
    assert moved[1] != moved[0] and min(apart) < 0.08  # two frames
    page.get_by_role("button", name="Pause", exact=True).click()
    page.wait_for_timeout(150)
    (lead, follow) = times(page)
    assert lead[0] == follow[0] and lead[2] and follow[2]
    page.get_by_role("button", name="One to one").click()
    assert page.locator(".pair").bounding_box()["width"] == 256


def test_a_job_is_paused_survives_a_reload_resumed_and_its_result_plays(page, films):
    open_source(page, "clip.mp4")
    page.wait_for_function("document.querySelector('#command textarea').value.includes('--scale 2')")
    assert str(films / "clip.mp4") in page.get_by_label("The same as a command").input_value()
    page.get_by_role("button", name="Add to the queue").click()
    row = page.locator(".queue li").filter(has_text="clip_x2.mp4")
    shown_in(row, "left", LONG_MS)
    page.wait_for_function(
        "document.querySelector('.queue .detail').textContent.match(/frame 1[01]\\d/)", timeout=LONG_MS
    )
    row.get_by_role("button", name="Pause clip_x2.mp4").click()
    shown_in(row, "paused, 100 frames are finished")
    page.reload()
    shown_in(row, "paused, 100 frames are finished")
    row.get_by_role("button", name="Resume clip_x2.mp4").click()
    shown_in(row, "verified: 130 of 130 frames", LONG_MS)
    assert "30 of them made" in row.inner_text() and len(read_times(films / "clip_x2.mp4")) == 130
    row.get_by_role("button", name="Show clip_x2.mp4").click()
    page.wait_for_function("document.querySelector('.result video').readyState === 4")
    page.evaluate(
        "(async () => { const v = document.querySelector('.result video'); v.muted = true; await v.play(); })()"
    )
    page.wait_for_function("document.querySelector('.result video').currentTime > 0.3")
    size = page.evaluate("(v => [v.videoWidth, v.videoHeight])(document.querySelector('.result video'))")
    assert size == [128, 72]
    row.get_by_role("button", name="Clear clip_x2.mp4").click()
    row.wait_for(state="detached")
    assert (films / "clip_x2.mp4").is_file()


def test_a_job_is_cancelled_from_another_page(page, chromium, served, films):
    open_source(page, "clip.mp4", "x3")
    page.wait_for_function("document.querySelector('#command textarea').value.includes('--scale 3')")
    page.get_by_role("button", name="Add to the queue").click()
    shown_in(page.locator(".queue li").filter(has_text="clip_x3.mp4"), "running")
    page.get_by_role("button", name="Add to the queue").click()
    shown_in(page.locator("#notice p.error"), "is in the queue already")
    with looking(chromium, served) as other:
        other.get_by_role("button", name="Cancel clip_x3.mp4").click()
        other.locator(".queue li").wait_for(state="detached")
    page.locator(".queue li").wait_for(state="detached")
    for _ in range(200):  # the model may be loading: it stops at its first frame
        if not job_folder(films / "clip_x3.mp4").exists():
            break
        page.wait_for_timeout(50)
    assert not (films / "clip_x3.mp4").exists() and not job_folder(films / "clip_x3.mp4").exists()


def test_what_cannot_be_is_one_line_and_the_page_goes_on(page):
    wrong = page.locator("#notice p.error")
    for words, said in (
        ("broken.mp4", "broken.mp4"),
        ("../", "outside the folders of this page"),
        ("none.mp4", "no such file"),
    ):
        open_source(page, words)
        shown_in(wrong, said)
        assert wrong.get_attribute("role") == "alert" and page.get_by_role("button", name="Preview").is_disabled()
    open_source(page, MARKUP)
    shown_in(page.locator("#notice p:not(.error)"), MARKUP)
    assert page.locator("img[src=x]").count() == 0


def test_a_file_that_is_too_large_to_drop_is_said_and_can_be_named(page, tmp_path):
    (tmp_path / "large.mp4").write_bytes(bytes(2 << 20))
    page.locator("input[type=file]").set_input_files(tmp_path / "large.mp4")
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    open_source(page, "clip.mp4")
    shown_in(page.locator("table.facts"), "64 x 36, h264, 8 bit")


def test_the_keyboard_and_a_screen_reader_find_everything(page):
    open_source(page, "clip.mp4")
    shown_in(page.locator("table.facts"), "it holds")
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, video, progress, [role=slider]')]
        .filter(e => e.checkVisibility() && e.type !== 'file')
        .filter(e => !(e.getAttribute('aria-label') || e.title || e.innerText || (e.labels && e.labels.length)))
        .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert not unnamed
    start = page.get_by_label("Stretch begins, in seconds")
    start.focus()
    before = float(start.input_value())
    page.keyboard.press("ArrowRight")
    assert float(start.input_value()) == pytest.approx(before + 0.1)
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("(e => e.getAttribute('aria-label') || e.innerText)(document.activeElement)"))
    assert {"Stretch ends, in seconds", "Preview", "Add to the queue"} <= seen


def test_other_sites_are_refused(page, served):
    port = served.rpartition(":")[2]
    api = page.context.request
    assert api.get(served, headers={"host": f"evil.example:{port}"}).status == 400
    assert api.get(f"{served}/picture?path=clip.mp4&at=0", headers={"origin": "http://evil.example"}).status == 403
    assert api.get(f"{served}/picture?path=clip.mp4&at=0", headers={"sec-fetch-site": "cross-site"}).status == 403
    assert api.get(f"{served}/picture?path=clip.mp4&at=0").status == 200
    for path in ("picture?path=/etc/passwd&at=0", "view/../before.mp4", "result/99", "gradio_api/file=/etc/passwd"):
        assert api.get(f"{served}/{path}").status in (403, 404)


@pytest.mark.slow
def test_an_ended_program_goes_on_with_its_queue(chromium, films, tmp_path):
    with serving(films, tmp_path, slower_s=0.05) as (address, _), looking(chromium, address) as page:
        open_source(page, "clip.mp4", "x1.5")
        page.wait_for_function("document.querySelector('#command textarea').value.includes('--scale 1.5')")
        page.get_by_role("button", name="Add to the queue").click()
        page.wait_for_function(
            "(e => e && e.textContent.match(/frame 1[01]\\d/))(document.querySelector('.queue .detail'))",
            timeout=LONG_MS,
        )
        page.goto("about:blank")
    with serving(films, tmp_path) as (address, _), looking(chromium, address) as page:
        shown_in(page.locator(".queue li"), "verified: 130 of 130 frames", LONG_MS)
        assert "30 of them made" in page.locator(".queue li").inner_text()
