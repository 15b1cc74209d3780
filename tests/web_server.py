"""A web server on loopback whose faults a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer(ThreadingHTTPServer):
    """Serves files from memory.

    Attributes:
        files: content by path, such as `/x.zip`.
        faults: one for each of the next requests: `cut:N` closes the connection after N bytes, `status:N` answers with an HTTP
            status, `hang` does not answer, `whole` ignores the requested range, `endless` sends more and more, `page` sends a web
            page, `range:N` the rest from byte N on, `to:URL` redirects, `begin:N` is `cut:N` that ignores the range; None for no
            fault.
        requests: the (path, Range header) of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[str | None] = []
        self.requests: list[tuple[str, str | None]] = []
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        fault, _, number = ((self.server.faults.pop(0) if self.server.faults else None) or "").partition(":")
        content = self.server.files.get(self.path)
        if fault == "hang":
            self.server.ended.wait(30)
            return
        if content is None or fault == "status":
            self.send_error(int(number or 404))
            return
        if fault in ("page", "to"):
            self.send_response(200 if fault == "page" else 302)
            self.send_header(
                *(("Content-Type", "text/html; charset=utf-8") if fault == "page" else ("Location", number))
            )
            self.end_headers()
            self.wfile.write(b"<html>Log in")
            return
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
        start = int(number) if fault == "range" else start
        if start >= len(content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        start = 0 if fault in ("whole", "begin") else start
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: int(number)] if fault in ("cut", "begin") else body)
        while fault == "endless" and not self.server.ended.is_set():
            self.wfile.write(bytes(100_000))

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[WebServer]:
    """A running server."""
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
