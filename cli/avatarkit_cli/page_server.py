"""Serves one page to browsers on this machine only, with a limited number of clients."""

from __future__ import annotations

import io
import re
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["PageServer"]

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
MOST_CLIENTS = 32
REQUEST_SECONDS = 10.0  # for a whole request
ANSWER_SECONDS = 60.0  # for the whole page
_MOST_BYTES = 32 * 1024  # of a request with its headers
_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_DEFAULT_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageServer(ThreadingHTTPServer):
    """A server of the page at ``/``.

    A client that sends no complete request within ``REQUEST_SECONDS`` is dropped. With ``MOST_CLIENTS`` connected, a new client
    replaces the one that has kept the server waiting longest.

    Attributes:
        page: the HTML page; its own content security policy is sent as a header too.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    page = b""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._asking: dict[socket.socket, float] = {}  # client -> when it must have asked; the oldest first
        self._answered: dict[socket.socket, float] = {}  # client -> when it must have read the page
        super().__init__((HOST, port), _Handler)

    @property
    def policy(self) -> str:
        """Content security policy of the page."""
        found = _POLICY.search(self.page, 0, 1 << 16)
        own = found[1].decode("latin-1") if found else _DEFAULT_POLICY
        return f"{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    def server_bind(self) -> None:
        """Take the address."""
        socketserver.TCPServer.server_bind(self)  # without a look-up of this machine's name, which may take long
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread; with too many clients, one that has asked nothing yet must go."""
        with self._lock:
            if self._asking and len(self._asking) + len(self._answered) >= MOST_CLIENTS:
                oldest = next(iter(self._asking))
                del self._asking[oldest]
                _hang_up(oldest)
            full = len(self._answered) >= MOST_CLIENTS
            if not full:
                self._asking[request] = time.monotonic() + REQUEST_SECONDS
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def asked(self, request: Any) -> None:
        """Record that the request of a client has arrived."""
        with self._lock:
            if self._asking.pop(request, None) is not None:
                self._answered[request] = time.monotonic() + ANSWER_SECONDS
                request.settimeout(ANSWER_SECONDS)

    def shutdown_request(self, request: Any) -> None:
        """Forget the client and close its connection."""
        with self._lock:
            self._asking.pop(request, None)
            self._answered.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Drop clients that are too slow; called twice a second."""
        now = time.monotonic()
        with self._lock:
            for request, until in [*self._asking.items(), *self._answered.items()]:
                if until < now:
                    _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect or send invalid data."""


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Bounded(io.BufferedIOBase):
    """A request limited to ``_MOST_BYTES``."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left = stream, _MOST_BYTES

    def readline(self, size: int | None = -1) -> bytes:
        line: bytes = self._stream.readline(min(self._left, size) if size is not None and size >= 0 else self._left)
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Bounded(self.rfile)

    def do_GET(self) -> None:
        if self._refused():
            return
        self._head(HTTPStatus.OK, "text/html", len(self.server.page))
        if self.command != "HEAD":
            self.wfile.write(self.server.page)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _refused(self) -> bool:
        """Return whether the request was refused; if so, an answer was sent.

        A page of another site whose name points to this machine must not read the avatar.
        """
        if not self._for_us():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            return False
        return True

    def _for_us(self) -> bool:
        """Return whether the request comes from the user or our page, not from another site."""
        hosts = [host.strip() for host in self.headers.get_all("Host", [])]
        origins = [origin.strip() for origin in self.headers.get_all("Origin", [])]
        if len(hosts) != 1 or not self._is_ours(hosts[0]) or any(origin != f"http://{hosts[0]}" for origin in origins):
            return False
        link = self.headers.get("Sec-Fetch-Mode") == "navigate" and self.headers.get("Sec-Fetch-Dest") == "document"
        return link or self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")

    def _is_ours(self, host: str) -> bool:
        """Return whether the request addresses this machine.

        Ports may differ, because tunnels have their own.
        """
        name, colon, port = host.lower().partition(":")
        return name in _NAMES and (port.isdecimal() if colon else self.server.server_port == 80)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a line of text that contains nothing from the client."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        body = f"{status.value} {status.phrase}\n".encode()
        self._head(status, "text/plain", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)
        self._drain()

    def _drain(self) -> None:
        """Read the rest of the request for a moment, so that the client receives the answer."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            for _ in range(64):
                if not self.connection.recv(4096):
                    break

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.server.asked(self.connection)
        self.close_connection = True
        self.request_version = self.protocol_version  # HTTP/0.9 would get the body alone
        self.send_response(status)
        headers = {
            **_HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(length), "Connection": "close",
            "Content-Security-Policy": self.server.policy if status == HTTPStatus.OK else "default-src 'none'; sandbox",
        }  # fmt: skip
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        return "avatarkit"

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
