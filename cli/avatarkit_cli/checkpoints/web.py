"""Requests to servers that may be slow, broken or hostile: bounded in time, in size and in where they lead.

Only http and https are spoken, through the proxies that the environment names. Redirects are followed by hand: at most
``MOST_REDIRECTS``, to http and https only, never from https down to http. The user's token is sent to the host that was
asked and to no other.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import time
import urllib.request
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from avatarkit.errors import ConfigError, InputError

__all__ = ["Answer", "Broken", "Clock", "brief", "content_length", "host_of", "open_url", "phrase", "read_piece", "read_whole"]

MOST_REDIRECTS = 5  # a file takes one or two
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_URL = 8192  # characters; signed addresses of files take about 1500
_SAFE = "!#$%&'()*+,/:;=?@[]~"  # characters of an address that stay as they are


class Broken(Exception):
    """A connection failed in a way that another try may mend.

    The message says how, without a full stop.

    Attributes:
        slow: whether it was given up for want of time.
    """

    def __init__(self, reason: str, slow: bool = False) -> None:
        super().__init__(reason)
        self.slow = slow


class Clock:
    """How long a server may take.

    Args:
        stall: seconds without a byte.
        total: seconds until the deadline; ``restart`` sets a new one.
    """

    def __init__(self, stall: float, total: float) -> None:
        self.stall = stall
        self.restart(total)

    def restart(self, total: float) -> None:
        """Set the deadline ``total`` seconds from now."""
        self.deadline = time.monotonic() + total

    @property
    def left(self) -> float:
        """Seconds that the next byte may take.

        Raises:
            TimeoutError: the deadline is over.
        """
        left = min(self.stall, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("the server is too slow")
        return left


class _Timed(io.RawIOBase):
    """The bytes of a socket.

    Every read keeps to the clock, so that a byte now and then does not last forever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, clock: Clock) -> None:
        self._raw, self._sock, self._clock = raw, sock, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._clock.left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()


class Answer(http.client.HTTPResponse):
    """An answer of a server, of any status, that is read with ``read_piece`` or ``read_whole`` and then closed."""

    url: str

    def __init__(self, clock: Clock, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp: Any = io.BufferedReader(_Timed(self.fp.detach(), sock, clock))


def _connection(kind: type[http.client.HTTPConnection], clock: Clock, host: str, **options: Any) -> http.client.HTTPConnection:
    connection = kind(host, **options)
    connection.response_class = partial(Answer, clock)  # type: ignore[assignment]
    return connection


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._clock), req)


class _Secure(urllib.request.AbstractHTTPHandler):  # HTTPSHandler reads all certificates at once, from Python 3.12 on
    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_connection, http.client.HTTPSConnection, self._clock), req)


def open_url(url: str, headers: Mapping[str, str], clock: Clock) -> Answer:
    """Request ``url`` and return the answer, of any status that is not a redirect.

    Args:
        url: http or https.
        headers: to send.
        clock: limits the connection, the headers and what is read of the answer.

    Raises:
        Broken: no answer came.
        InputError: it is no address on the web, or the redirects lead misaligned.
        ConfigError: ``HF_TOKEN`` is no token.
    """
    token, origin = _token(), _origin(url)
    for _ in range(MOST_REDIRECTS + 1):
        opener = urllib.request.OpenerDirector()  # with no handler for file:, ftp: and data:
        for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Plain(clock), _Secure(clock)):
            opener.add_handler(handler)
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "avatarkit", "Accept-Encoding": "identity", **headers})
            if token and _origin(url) == origin:
                request.add_unredirected_header("Authorization", f"Bearer {token}")
            answer: Answer = opener.open(request, timeout=clock.left)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: names that no host can have
            raise _broken(error) from error
        if answer.status not in _REDIRECTS:
            return answer
        location = answer.headers.get("Location")
        answer.close()
        url = _followed(url, location)
    raise InputError(f"{host_of(url)} redirects more than {MOST_REDIRECTS} times; nothing was fetched.")


def read_piece(answer: Answer, most: int) -> bytes:
    """Return what came of a body, at most ``most`` bytes; nothing at its end.

    Raises:
        Broken: the connection broke.
    """
    try:
        return answer.read1(most)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(error) from error


def read_whole(answer: Answer, most: int) -> bytes:
    """Return a body of at most ``most`` bytes.

    Raises:
        Broken: the connection broke.
        InputError: it is longer.
    """
    length = content_length(answer)
    data = bytearray()
    while piece := read_piece(answer, 2**16):
        data += piece
        if len(data) > most:
            raise InputError(f"{host_of(answer.url)} sends more than {most / 1e6:.0f} MB of a list; nothing was fetched.")
    if length is not None and len(data) < length:
        raise Broken("the connection was closed early")
    return bytes(data)


def content_length(answer: Answer) -> int | None:
    """Return the bytes that a body is announced to have.

    None where the server does not say.

    Raises:
        InputError: the headers that describe the body make no sense.
    """
    coding = answer.headers.get("Transfer-Encoding", "")
    packed = answer.headers.get("Content-Encoding", "identity")
    lengths = {text.strip() for text in answer.headers.get_all("Content-Length", [])}
    if coding and coding.strip().lower() != "chunked":
        raise InputError(f"{host_of(answer.url)} sends a Transfer-Encoding that was not asked for; nothing was fetched.")
    if packed.strip().lower() not in ("identity", ""):
        raise InputError(f"{host_of(answer.url)} sends a Content-Encoding that was not asked for; nothing was fetched.")
    if answer.chunked or not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", text := lengths.pop()):
        raise InputError(f"{host_of(answer.url)} answers with a malformed Content-Length; nothing was fetched.")
    return int(text)


def phrase(status: int) -> str:
    """Return a status in words of our own: ``404 Not Found``."""
    return f"{status} {HTTPStatus(status).phrase}" if status in {int(known) for known in HTTPStatus} else str(status)


def host_of(url: str) -> str:
    """Return the host and port of an address, for messages."""
    return brief(urlsplit(url).netloc)


def brief(text: object, most: int = 100) -> str:
    """Return text of a server on one line, short and without control characters, for messages."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text)[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _broken(error: BaseException) -> Broken:
    reason: Any = getattr(error, "reason", None) or error
    slow = isinstance(error, TimeoutError) or isinstance(reason, TimeoutError)
    return Broken(brief(reason) or type(error).__name__, slow)


def _followed(url: str, location: str | None) -> str:
    """Return where a redirect leads.

    Raises:
        InputError: not to a place where it may.
    """
    where = quote(location or "", safe=_SAFE, encoding="latin-1", errors="replace")
    try:
        target = urljoin(url, where)
        parts = urlsplit(target)
        fine = bool(where) and len(target) <= _LONGEST_URL and parts.scheme in ("http", "https") and bool(_origin(target)[1])
    except ValueError:
        fine = False
    if not fine:
        raise InputError(f"{host_of(url)} redirects to {brief(location)!r}, which is no address on the web; nothing was fetched.")
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise InputError(f"{host_of(url)} redirects from https down to http; nothing was fetched.")
    return target


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: the token stays where these are the same.

    Raises:
        InputError: it is no address on the web.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise InputError(f"{brief(url)!r} is no address on the web; nothing was fetched.")
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]


def _token() -> str:
    """Return the user's token, or nothing.

    Raises:
        ConfigError: it cannot be sent.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not re.fullmatch(r"[\x21-\x7e]{1,1000}", token):
        raise ConfigError("HF_TOKEN is no token: it may hold letters, digits and signs only. Set it anew, or unset it.")
    return token
