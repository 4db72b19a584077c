"""A tiny Hugging Face Hub on 127.0.0.1: serves folders in its layout, with ranges, hashes and faults on request."""

import hashlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """root: holds OWNER/NAME/FILES. seen: (method, path, Range header) of each request.

    cut_after: a file's name -> bytes after which the connection is lost, once. other: a file's name -> what is sent
    instead of its content. plain: answer as an ordinary server, without the Hub's headers. busy: a file's name -> the
    codes of the next answers. slow_s: a file's name -> how long an answer takes. named: a file's name -> None for a
    body without a length.
    """

    root: Path
    address: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    cut_after: dict[str, int] = field(default_factory=dict)
    other: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    plain: bool = False
    busy: dict[str, list[int]] = field(default_factory=dict)
    slow_s: dict[str, float] = field(default_factory=dict)
    named: dict[str, int | None] = field(default_factory=dict)

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        expected = handler.headers.get("Range", "")
        self.seen.append((handler.command, handler.path, expected))
        repo, result, rest = handler.path.strip("/").partition("/resolve/")
        path = self.root / repo / (rest.partition("/")[2] if result else "")
        if not path.is_file():
            handler.send_response(404 if (self.root / repo).is_dir() else 401)
            handler.send_header("X-Error-Code", "EntryNotFound" if (self.root / repo).is_dir() else "RepoNotFound")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        time.sleep(self.slow_s.get(path.name, 0))
        if codes := self.busy.get(path.name):
            handler.send_response(codes.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = path.read_bytes()
        large = path.suffix in (".safetensors", ".pth", ".bin")
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        content = self.other.get(path.name, content) if body else content
        start = int(expected.removeprefix("bytes=").rstrip("-")) if expected and self.ranges else 0
        handler.send_response(206 if start else 200)
        if result and not self.plain:
            handler.send_header("X-Repo-Commit", COMMIT)
        if not self.plain:
            handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest() if large else blob}"')
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if body and path.name in self.named:
            handler.close_connection = True
        else:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        if body:
            cut = self.cut_after.pop(path.name, None)
            handler.wfile.write(content[start:][:cut])
            handler.close_connection = cut is not None or handler.close_connection


@contextmanager
def serving(root: Path):
    hub = Hub(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            hub.answer(self, body=True)

        def do_HEAD(self):
            hub.answer(self, body=False)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
