"""Serve the page on this machine: which addresses are answered, to whom, and that nothing outside is asked."""

import hashlib
import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from osediff_video import ModelNotFoundError, OseDiffError, OutputError, read_frame
from page.actions import Actions
from page.folders import Folders, make_folders
from page.queue import Queue
from page.work import Work, carry_out

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_UPLOAD = "2gb"
"""Dropped files are copied; larger ones are named instead, which copies nothing."""

PICTURE_PX = 160
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'"
"""What the browser may load: only what comes from here. Gradio's parts are made by scripts within the page."""


def serve(
    folders: tuple[Path, ...],
    output: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the page until it is interrupted.

    folders: whose files may be read. output: folder for results; None is the first of them. host: only this machine
    unless another address is given. ready: called with the page's address. Raises OseDiffError.
    """
    places = make_folders(folders, output, cache_folder() / "uploads")
    import_gradio()
    with listening(host, port) as server, working(places, carry_out) as actions:
        import uvicorn

        app = build_app(actions, host)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        ready(f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{server.getsockname()[1]}")
        with suppress(KeyboardInterrupt):  # which the server raises again when it has ended in order
            uvicorn.Server(settings).run(sockets=[server])


def import_gradio() -> Any:
    """Import Gradio as it must be: without telemetry, with its files in our cache. Raises ModelNotFoundError."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(cache_folder() / "uploads")
    try:
        import gradio
    except ImportError as error:
        raise ModelNotFoundError(f"the page needs Gradio 6 ({error}): pip install 'osediff-video[gui]'") from error
    return gradio


def cache_folder() -> Path:
    """Return where dropped files and previews lie."""
    return platformdirs.user_cache_path("osediff", appauthor=False) / "page"


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that is bound. Raises OutputError where that is not possible."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name != "nt":  # there it would let two programs share a port
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with server:
        try:
            server.bind((host, port))
            server.listen()
        except (OSError, OverflowError) as error:
            raise OutputError(
                f"{host}:{port}: cannot be used ({error}); choose another port with --port, 0 is any free one"
            ) from error
        yield server


@contextmanager
def working(folders: Folders, work: Work) -> Iterator[Actions]:
    """Yield what acts for the pages, with its queue at work; previews are removed at the end. Raises OutputError."""
    named = "\n".join(map(str, (*folders.roots, folders.output)))
    key = hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:16]
    place = platformdirs.user_state_path("osediff", appauthor=False) / "page" / key
    with tempfile.TemporaryDirectory(prefix="osediff-page-") as views, Queue(place, work) as queue:
        yield Actions(folders, queue, Path(views))


def build_app(actions: Actions, host: str) -> Any:
    """Return the web application: our addresses, and Gradio's page at the root."""
    gradio = import_gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from page.layout import build

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_addresses(app, actions)
    theme = gradio.themes.Default(
        primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    app = gradio.mount_gradio_app(
        app,
        build(actions, LARGEST_UPLOAD),
        path="/",
        footer_links=[],
        show_error=True,
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        theme=theme,
        css_paths=Path(__file__).parent / "page.css",
    )
    app.add_middleware(OwnPagesOnly)
    if host in LOOPBACK:  # a name of elsewhere that leads here would let its pages read ours
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"], www_redirect=False)
    return app


def add_addresses(app: Any, actions: Actions) -> None:
    """Add what the page loads besides Gradio's own: pictures of a timeline, previews, results."""
    from fastapi import HTTPException
    from fastapi.responses import FileResponse, Response

    @app.get("/picture")
    def picture(path: str, at: float) -> Response:
        """Return a small picture of a video at a time."""
        try:
            place = actions.folders.readable(path)
            data = small_picture(place, place.stat().st_mtime_ns, at)
        except (OseDiffError, OSError, ValueError, OverflowError) as error:
            raise HTTPException(404, str(error)) from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": "max-age=600"})

    @app.get("/view/{folder}/{name}")
    def view(folder: str, name: str) -> FileResponse:
        """Return one of the two files of a preview."""
        place = actions.views / folder / name
        if name not in ("before.mp4", "after.mp4", "before.png", "after.png") or not place.is_file():
            raise HTTPException(404, "this preview is not there any more")
        return FileResponse(place)

    @app.get("/result/{number}")
    def result(number: int) -> FileResponse:
        """Return the result of a finished request."""
        try:
            return FileResponse(actions.result_of(number)["place"])
        except OutputError as error:
            raise HTTPException(404, str(error)) from error


@lru_cache(maxsize=256)
def small_picture(path: Path, changed_ns: int, at_s: float) -> bytes:  # noqa: ARG001 - another file has another time
    """Return the JPEG of a frame, scaled down. Raises OseDiffError."""
    from PIL import Image

    image = Image.fromarray(read_frame(path, at_s))
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return data.getvalue()


class OwnPagesOnly:
    """Refuse requests that pages of other sites make, and tell the browser to load nothing from outside."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        crossed = headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
        origin = headers.get(b"origin", b"").partition(b"://")[2]
        if crossed or (origin and origin != headers.get(b"host")):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"only this page itself may ask"})
            return

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)
