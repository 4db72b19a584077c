"""Lay out the page: what stands where, and which action each part asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from osediff_video import OseDiffError, Progress, model_names, preset_names, read_preset
from page.actions import Actions, Controls, command_of, line, timeline_of
from page.facts import estimate_of, facts_of
from page.queue import StoppedError
from page.request import NO_PRESET, Request

PARTS = Path(__file__).parent / "parts"
SIZES = ["x1", "x2", "x3", "x4", "720p", "1080p", "1440p", "4k"]
POLL_S = 1.0


def part(name: str, value: Any = None, label: str | None = None) -> gr.HTML:
    """Return a part of the page that is made of our own HTML and JavaScript; its value is data, never markup."""
    file = "line" if name in ("notice", "estimate") else name
    html, script = ((PARTS / f"{file}.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    return gr.HTML(value, html_template=html, js_on_load=script, elem_id=name, label=label, apply_default_css=False)


def build(actions: Actions, largest_upload: str) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="osediff-video", analytics_enabled=False) as page:
        gr.HTML("<h1>osediff-video</h1><p>Make videos and images sharper and larger; everything else stays.</p>",
                elem_id="head", js_on_load=None)  # fmt: skip
        with gr.Row():
            with gr.Column(scale=1):
                gr.HTML("<h2>Source</h2>", js_on_load=None)
                upload = gr.File(label=f"Drop a video or an image, up to {largest_upload.upper()}", height=150)
                words = gr.Textbox(
                    label="or name a file or a folder of frames",
                    info="read where it lies, however large",
                    placeholder=f"a path in {actions.folders.roots[0]}",
                    max_lines=1,
                )
                look = gr.Button("Open", variant="secondary")
                notice = part("notice")
                gr.HTML("<h2>Settings</h2>", js_on_load=None)
                controls, fields = build_controls()
            with gr.Column(scale=2):
                facts = part("facts")
                timeline = part("timeline")
                with gr.Row():
                    show = gr.Button("Preview", variant="primary", interactive=False)
                    stop = gr.Button("Stop", interactive=False)
                wipe = part("wipe")
                estimate = part("estimate")
                with gr.Row():
                    name = gr.Textbox(label="Name of the result", max_lines=1, scale=2)
                    only = gr.Checkbox(label="Only the stretch", scale=1)
                add = gr.Button("Add to the queue", variant="primary", interactive=False)
                command = part("command")
                gr.HTML("<h2>Queue</h2>", js_on_load=None)
                queue = part("queue", [])
                result = part("result")
        source = gr.State("")
        inputs = [source, timeline, name, only, *fields]
        events = Events(actions, page, list(controls))
        shown = [source, notice, facts, timeline, command, name, wipe, estimate, show, add]
        hidden = {"show_progress": "hidden", "api_visibility": "private"}
        for trigger in (words.submit, look.click):
            trigger(events.open_named, [words, *inputs], shown, **hidden)
        upload.upload(events.open_dropped, [upload, *inputs], [words, *shown], **hidden)
        gr.on(
            [*(field.change for field in fields if field is not fields[0]), only.change, name.change],
            events.refresh, inputs, [notice, facts, command, name], trigger_mode="always_last", **hidden,
        )  # fmt: skip
        fields[0].change(events.take_preset, fields[0], fields[1:], **hidden)
        timeline.pick(events.refresh, inputs, [notice, facts, command, name], trigger_mode="always_last", **hidden)
        began = show.click(
            lambda: (gr.Button(interactive=False), gr.Button(interactive=True)), None, [show, stop], **hidden
        )
        began.then(
            events.preview, inputs, [wipe, estimate, show, stop],
            show_progress="full", show_progress_on=[estimate], api_visibility="private", concurrency_limit=None,
        )  # fmt: skip
        stop.click(events.stop, None, None, **hidden)
        add.click(events.add, inputs, [notice, queue], **hidden)
        queue.act(events.act, None, [queue, result, notice], **hidden)
        gr.Timer(POLL_S).tick(actions.listed, None, queue, **hidden)
        page.unload(events.stop)  # nobody is left who waits for a preview
        page.load(actions.listed, None, queue, **hidden)
    return page


def build_controls() -> tuple[list[str], list[Any]]:
    """Return the names of the controls, as in `Controls`, and their parts; a preset comes first and fills the rest."""
    summaries = [(f"{name}: {read_preset(name).summary}", name) for name in preset_names()]
    fields = {
        "preset": gr.Dropdown([("none", NO_PRESET), *summaries], value=NO_PRESET, label="Preset"),
        "model": gr.Dropdown(["auto", *model_names()], value="auto", label="Model"),
        "size": gr.Dropdown(SIZES, value=Request.size, label="Size", allow_custom_value=True,
                            info="times the source, a height, or WIDTHxHEIGHT"),
        "strength": gr.Slider(0, 1, Request.strength, step=0.05, label="Strength",
                              info="from the enlarged source (0) to the model's result (1)"),
        "steadiness": gr.Slider(0, 0.95, Request.steadiness, step=0.05, label="Steadiness",
                                info="weight of the previous frame; 0 is off"),
        "deinterlace": gr.Dropdown(["auto", "on", "off"], value=Request.deinterlace, label="Deinterlace"),
        "crf": gr.Textbox(label="CRF", info="quality of the encoder, lower is better", max_lines=1,
                          placeholder="visually lossless"),
    }  # fmt: skip
    return list(fields), list(fields.values())


class Events:
    """Answer the events of the page with values for its parts. names: of the controls, in the order of the inputs."""

    def __init__(self, actions: Actions, page: gr.Blocks, names: list[str]) -> None:
        self.actions, self.page, self.names = actions, page, names

    def controls(self, stretch: dict[str, float] | None, name: str, only: bool, values: tuple[Any, ...]) -> Controls:
        """Return what the parts of one page say."""
        start, end = (stretch["start"], stretch["end"]) if stretch else (None, None)
        named = dict(zip(self.names, values, strict=True))
        return Controls(name=name or "", only_stretch=bool(only and stretch), start=start, end=end, **named)

    def open_named(self, words: str, source: str, stretch: Any, *rest: Any) -> list[Any]:  # noqa: ARG002
        """Show another source; the stretch and the name of the last one are forgotten."""
        try:
            looked = self.actions.look(words, self.controls(None, "", False, rest[2:]))
        except OseDiffError as error:
            nothing = [None] * 2 + ["", gr.Textbox(placeholder="", value=""), None, None]
            off = gr.Button(interactive=False)
            return ["", line(error), *nothing, off, off]
        track = timeline_of(looked)
        on = gr.Button(interactive=True)
        place = gr.Textbox(placeholder=Path(looked.request.target).name, value="")
        said = line(Path(looked.request.source).name)
        shown = [looked.request.source, said, facts_of(looked.plan), track, command_of(looked.request)]
        return [*shown, place, None, None, on, on]

    def open_dropped(self, dropped: str | None, *inputs: Any) -> list[Any]:
        """Show a file that was dropped."""
        return [dropped or "", *self.open_named(dropped or "", *inputs)]

    def refresh(self, source: str, stretch: Any, name: str, only: bool, *values: Any) -> list[Any]:
        """Plan again with other settings."""
        if not source:
            return [gr.skip()] * 4
        try:
            looked = self.actions.look(source, self.controls(stretch, name, only, values))
        except OseDiffError as error:
            return [line(error), gr.skip(), "", gr.skip()]
        usual = self.actions.look(source, self.controls(stretch, "", only, values)) if name else looked
        place = gr.Textbox(placeholder=Path(usual.request.target).name)
        return [line(Path(looked.request.source).name), facts_of(looked.plan), command_of(looked.request), place]

    def take_preset(self, preset: str) -> list[Any]:
        """Return the values of the controls that a preset sets."""
        base = Request("", "", preset=preset).base
        size = base.video.size or f"x{base.image.scale:g}"
        steadiness = 0 if base.video.temporal == "off" else base.video.temporal_strength
        crf = "" if base.encoding.crf is None else f"{base.encoding.crf:g}"
        return [base.model, size, base.image.strength, steadiness, base.video.deinterlace, crf]

    def preview(
        self, request: gr.Request, source: str, stretch: Any, name: str, only: bool, *values: Any,
        progress: Any = gr.Progress(),  # noqa: B008 - Gradio finds it by its default
    ) -> list[Any]:  # fmt: skip
        """Make a preview and show it."""
        done = [gr.Button(interactive=True), gr.Button(interactive=False)]
        controls = self.controls(stretch, name, only, values)

        def report(state: Progress) -> None:
            progress((state.frames, state.total), desc="frames", unit="frames")

        try:
            progress(0.0, desc="reading the source and loading the model")
            shown = self.actions.preview(source, controls, request.session_hash or "", report)
        except StoppedError:
            return [None, line("stopped"), *done]
        except OseDiffError as error:
            return [None, line(error), *done]
        folder = f"view/{shown.before.parent.name}"
        value: dict[str, Any] = {"video": shown.before.suffix == ".mp4"}
        value |= {name: f"{folder}/{getattr(shown, name).name}" for name in ("before", "after")}
        return [value, line(estimate_of(shown)), *done]

    def stop(self, request: gr.Request) -> None:
        """Stop the preview of this page."""
        self.actions.stop_preview(request.session_hash or "")

    def add(self, source: str, stretch: Any, name: str, only: bool, *values: Any) -> list[Any]:
        """Queue what is shown."""
        return self.answered(
            lambda: line(
                f"queued: {self.actions.add(source, self.controls(stretch, name, only, values)).request.target}"
            )
        )

    def answered(self, action: Callable[[], Any]) -> list[Any]:
        """Return the line that an action gives or fails with, and the queue."""
        try:
            said = action()
        except OseDiffError as error:
            said = line(error)
        return [said, self.actions.listed()]

    def act(self, event: gr.EventData) -> list[Any]:
        """Do to an entry of the queue what its button says."""
        try:
            shown = self.actions.act(int(event._data["number"]), str(event._data["deed"]))
        except OseDiffError as error:
            return [self.actions.listed(), gr.skip(), line(error)]
        return [self.actions.listed(), shown if shown else gr.skip(), gr.skip()]
