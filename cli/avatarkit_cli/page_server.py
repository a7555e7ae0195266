"""Serves one page to browsers on this machine only, with a limited number of clients."""

from __future__ import annotations

import errno
import io
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from avatarkit.errors import InputError
from avatarkit_cli.shared import say

__all__ = ["PageHandler", "PageServer", "open_server", "policy_of", "serve"]

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
MOST_CLIENTS = 32
REQUEST_SECONDS = 10.0  # for a whole request
ANSWER_SECONDS = 60.0  # for the whole page
_POLL_SECONDS = 0.05  # until a server on a thread of its own sees that it shall end
_MOST_BYTES = 32 * 1024  # of a request with its headers
_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_DEFAULT_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
Server = TypeVar("Server", bound="PageServer")
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

    def __init__(self, port: int, handler: type[PageHandler] | None = None) -> None:
        self._lock = threading.Lock()
        self._asking: dict[socket.socket, float] = {}  # client -> when it must have asked; the oldest first
        self._answered: dict[socket.socket, float] = {}  # client -> when it must have read the page
        super().__init__((HOST, port), handler or PageHandler)

    @property
    def address(self) -> str:
        """Where browsers find the page."""
        return f"http://{self.server_name}:{self.server_port}/"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a thread of its own until the block ends, and close; yields the address."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": _POLL_SECONDS})
        thread.start()
        try:
            yield self.address
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    @property
    def policy(self) -> str:
        """Content security policy of the page."""
        return policy_of(self.page)

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


def open_server(port: int, make: Callable[[int], Server]) -> Server:
    """Return the server that ``make`` makes for a port of the loopback interface.

    Raises:
        InputError: the port is in use, or only an administrator may use it.
    """
    try:
        return make(port)
    except PermissionError:
        raise InputError(f"Port {port} is reserved for administrators. Choose one above 1023, e.g. --port 8081.") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise InputError(f"Port {port} cannot be opened: {error.strerror}. Choose another with --port.") from error
        other = port + 1 if port < 65535 else 8080
        raise InputError(f"Port {port} is in use by another program. Choose another, e.g. --port {other}.") from None


def serve(server: PageServer, sentence: str, open_browser: bool) -> None:
    """Say where the page is and serve it until the program is interrupted.

    Args:
        server: of the page.
        sentence: for the user; ``{}`` stands for the address.
        open_browser: also open the page in the browser.
    """
    say(sentence.replace("{}", server.address))
    sys.stdout.flush()  # a reader of a pipe waits for it
    if open_browser:
        import webbrowser

        webbrowser.open(server.address)
    server.serve_forever()


def policy_of(page: bytes, framed_by: str = "'none'") -> str:
    """Return the content security policy that a page asks for, with what no page of ours does; ``framed_by`` may embed it."""
    found = _POLICY.search(page, 0, 1 << 16)
    own = found[1].decode("latin-1") if found else _DEFAULT_POLICY
    return f"{own}; base-uri 'none'; form-action 'none'; frame-ancestors {framed_by}"


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Bounded(io.BufferedIOBase):
    """A request limited to ``_MOST_BYTES``; ``body`` reads what follows its headers."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left = stream, _MOST_BYTES

    def readline(self, size: int | None = -1) -> bytes:
        line: bytes = self._stream.readline(min(self._left, size) if size is not None and size >= 0 else self._left)
        self._left -= len(line)
        return line

    def body(self, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes.

        Raises:
            OSError: the client left before.
        """
        while size:
            part = self._stream.read1(min(size, _MOST_BYTES))
            if not part:
                raise ConnectionResetError
            size -= len(part)
            yield part

    def close(self) -> None:
        self._stream.close()
        super().close()


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request; requests from pages of other sites are refused."""

    server: PageServer
    methods = "GET, HEAD"
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def setup(self) -> None:
        """Limit what is read."""
        super().setup()
        self.rfile: Any = _Bounded(self.rfile)

    def do_GET(self) -> None:
        """Send the page."""
        if not self.for_us():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self.answer(self.server.page, "text/html; charset=utf-8", {"Content-Security-Policy": self.server.policy})

    def do_HEAD(self) -> None:
        """Send the headers of the page."""
        self.do_GET()

    def answer(
        self, body: bytes, kind: str, headers: Mapping[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        """Send an answer; ``headers`` replace those that all answers have."""
        self.head(status, kind, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def for_us(self) -> bool:
        """Return whether the request comes from the user or our page, not from another site.

        A page of another site whose name points to this machine must not read the avatar.
        """
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
        self.answer(body, "text/plain; charset=utf-8", {"Allow": self.methods} if status == 405 else None, status)
        self._drain()

    def _drain(self) -> None:
        """Read the rest of the request for a moment, so that the client receives the answer."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            for _ in range(64):
                if not self.connection.recv(4096):
                    break

    def head(self, status: HTTPStatus, kind: str, length: int, headers: Mapping[str, str] | None = None) -> None:
        """Send the status and the headers of an answer; ``headers`` replace those that all answers have."""
        self.server.asked(self.connection)
        self.close_connection = True
        self.request_version = self.protocol_version  # HTTP/0.9 would get the body alone
        self.send_response(status)
        sent = {
            **_HEADERS, "Content-Type": kind, "Content-Length": str(length), "Connection": "close",
            "Content-Security-Policy": "default-src 'none'; sandbox", **(headers or {}),
        }  # fmt: skip
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        """Name the server without its version."""
        return "avatarkit"

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
