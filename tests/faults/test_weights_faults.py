"""Servers of weights that are broken or hostile, and faults on our side: one sentence, and nothing outside is touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avatarkit.errors import AvatarkitError, ConfigError, InputError, MissingWeights, StoreError
from avatarkit.hookspecs import Weights
from avatarkit.utils.paths import find_weights, weights_folder, weights_record
from avatarkit_cli.checkpoints import downloads, listings
from avatarkit_cli.checkpoints.web import Broken, Clock, open_url
from avatarkit_cli.checkpoints.weights_files import fetch_weights

COMMIT = "c0ffee12" * 5
FILES = {f"net/{name}": hashlib.sha512(name.encode()).digest() * 2000 for name in ("a.bin", "sub/b.bin")}
FIRST = "net/a.bin"
ABOUT = Weights("thing", "somewhere.example", "MIT", repository="own/thing", files=("net/*",), strip="net/", size=256_000)
OK = b"HTTP/1.1 200 OK\r\n"

Send = Callable[[bytes], None]
Behavior = Callable[["Server", Send, str, dict[str, str]], None]


class Server:
    """A server on the loopback that sends what a test tells it to, byte by byte.

    Attributes:
        listing, file: what answers requests for the list of files, and for a file. facts: the list of files.
        seen: (path, headers) of all requests. sent: bytes in all.
    """

    def __init__(self) -> None:
        self.listing: Behavior = honest_listing
        self.file: Behavior = honest_file
        self.facts: Any = good_facts()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        def send(data: bytes) -> None:
            if self.stopped.is_set():
                raise ConnectionError
            connection.sendall(data)
            self.sent += len(data)

        with connection, suppress(OSError):
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(4096)):
                    return
                head += piece
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
            path = first.split()[1]
            self.seen.append((path, headers))
            (self.listing if "/api/models/" in path else self.file)(self, send, path, headers)
            connection.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        self.stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=30)


def good_facts() -> dict[str, Any]:
    entries: list[Any] = [
        {"rfilename": n, "size": len(d), "lfs": {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d)}}
        for n, d in FILES.items()
    ]
    return {"sha": COMMIT, "siblings": [*entries, {"rfilename": "README.md", "size": 3}]}


def changed(key: str, value: Any) -> dict[str, Any]:
    """A list of files in which one field of the first file is another."""
    facts = good_facts()
    facts["siblings"][0][key] = value
    return facts


def named(*names: Any) -> dict[str, Any]:
    return {"sha": COMMIT, "siblings": [{"rfilename": name, "size": 3} for name in names]}


def honest_listing(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
    data = server.facts if isinstance(server.facts, bytes) else json.dumps(server.facts).encode()
    send(OK + b"Content-Length: %d\r\n\r\n" % len(data) + data)


def honest_file(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
    data = FILES[file_of(path)]
    tag, start = f'"{hashlib.sha256(data).hexdigest()[:8]}"', 0
    if headers.get("range") and headers.get("if-range") == tag:
        start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
    status = f"206 Part\r\nContent-Range: bytes {start}-{len(data) - 1}/{len(data)}" if start else "200 OK"
    send(f"HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {len(data) - start}\r\n\r\n".encode())
    for i in range(start, len(data), 8192):
        send(data[i : i + 8192])


def file_of(path: str) -> str:
    """The name in the repository that a request asks for."""
    return path.partition("/resolve/")[2].partition("/")[2]


def raw(*parts: bytes) -> Behavior:
    """Sends these bytes and closes."""

    def behave(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        for part in parts:
            send(part)

    return behave


def endless(head: bytes, piece: bytes) -> Behavior:
    """Sends ``piece`` again and again."""

    def behave(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        send(head)
        block = piece * max(1, 65536 // len(piece))
        while True:
            send(block)

    return behave


def dripping(head: bytes, piece: bytes) -> Behavior:
    """Sends ``piece`` 50 times a second, for ever."""

    def behave(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        send(head)
        while not server.stopped.wait(0.02):
            send(piece)

    return behave


def silent(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
    server.stopped.wait(10)


def redirect(location: str, code: int = 302) -> bytes:
    return f"HTTP/1.1 {code} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that lies below a folder."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        kind = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found[path.relative_to(folder).as_posix()] = kind
    return found


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's in which the cache lies, with files that must not change."""
    for name in ("x.pth", "home/keep.txt", "home/cache/other/keep.bin", "home/cache/weights/vgg.pth", "thing/a.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "home" / "cache"))
    proxies = [name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper())]
    for name in ("HF_TOKEN", "AVATARKIT_OFFLINE", "HF_HUB_OFFLINE", *proxies):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def server(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(downloads, "SPEED_SECONDS", 0.4)
    monkeypatch.setattr(listings, "TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(listings, "LISTING_SECONDS", 0.6)
    yield server
    server.stop()


def fetch(about: Weights = ABOUT) -> Path:
    return fetch_weights(about, listings.list_files(about), lambda message, fraction: None)


def others(outside: Path) -> dict[str, bytes | str]:
    """What lies outside the places that fetch may write to."""
    mine = re.compile(r"home/cache/(locks|weights/(\.partial|\.records|thing))(/.*)?")
    return {name: kind for name, kind in tree(outside).items() if not mine.fullmatch(name)}


def complete(about: Weights = ABOUT) -> None:
    folder = weights_folder() / about.name
    assert find_weights(about.name) == folder
    assert {f"net/{n}": d for n, d in tree(folder).items() if d != "folder"} == FILES
    assert tree(weights_folder() / ".partial") == {}
    assert weights_record(about.name) is not None


def refused(outside: Path, kinds: type[AvatarkitError] | tuple[type[AvatarkitError], ...], about: Weights = ABOUT) -> str:
    """Fetches, and checks that it ends in one sentence, soon, in little memory, with nothing outside touched."""
    before = others(outside)
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(kinds) as caught:
            fetch(about)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message) < 700 and message.isprintable() and message.endswith((".", "FILE", ")")), message
    assert time.monotonic() - started < 8
    assert peak < 40e6
    assert others(outside) == before
    assert find_weights(about.name) is None
    return message


# -------------------------------------------------------------------------------------------------------------- listing

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LISTING_BEHAVIORS: dict[str, Behavior] = {
    "endless body": endless(OK + b"\r\n", b"[" * 64),
    "endless chunks": endless(CHUNKED, b"40\r\n" + b" " * 64 + b"\r\n"),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X: " + b"y" * 1000 + b"\r\n"),
    "endless headers": endless(OK, b"X: " + b"y" * 1000 + b"\r\n"),
    "endless header": endless(OK + b"X: ", b"y" * 1000),
    "endless status line": endless(b"HTTP/1.1 200 ", b"y" * 1000),
    "endless continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body of a terabyte": endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b" "),
    "slow status line": dripping(b"", b"H"),
    "slow headers": dripping(OK, b"X: y\r\n"),
    "slow body": dripping(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "slow chunks": dripping(CHUNKED, b"1\r\n \r\n"),
    "silent": silent,
    "silent after the headers": lambda server, send, path, headers: (send(OK + b"\r\n"), silent(server, send, path, headers))[0],
    "closed at once": raw(),
    "closed early": raw(OK + b"Content-Length: 500\r\n\r\n{"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n\x1b[2Jhello\r\n"),
    "another HTTP": raw(b"HTTP/7.3 200 OK\r\n\r\n"),
    "length as text": raw(OK + b"Content-Length: many\r\n\r\n{}"),
    "negative length": raw(OK + b"Content-Length: -5\r\n\r\n{}"),
    "length of 5000 digits": raw(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "two lengths": raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
    "compressed": raw(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b"),
    "coded": raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "negative chunk": endless(CHUNKED + b"-1\r\n", b"x" * 64),
    "chunk without a size": raw(CHUNKED + b"many\r\n{}\r\n"),
    "redirect to a file": raw(redirect("file:///etc/passwd")),
    "redirect to ftp": raw(redirect("ftp://127.0.0.1/x")),
    "redirect to data": raw(redirect("data:application/json,{}")),
    "redirect to no host": raw(redirect("http://")),
    "redirect to a port that is none": raw(redirect("http://127.0.0.1:99999999/x")),
    "redirect to an unlikely host": raw(redirect("http://a..b/x")),
    "redirect to brackets": raw(redirect("http://[::1/x")),
    "redirect nowhere": raw(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    "redirect to itself": lambda server, send, path, headers: send(redirect(path)),
    "redirect with an escape": raw(redirect("x\x1b[2J:/\x07/")),
    "redirect with an endless body": endless(redirect("ftp://h/"), b" "),
    "status 204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "status 206": raw(b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\n{}"),
    "status 304": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "status 999 with an escape": raw(b"HTTP/1.1 999 \x1b[2J" + b"y" * 5000 + b"\r\n\r\n"),
    "status 500": endless(b"HTTP/1.1 500 Oh\r\n\r\n", b"y" * 1000),
}


@pytest.mark.parametrize("name", LISTING_BEHAVIORS)
def test_a_server_that_lists_badly(server: Server, outside: Path, name: str) -> None:
    server.listing = LISTING_BEHAVIORS[name]
    refused(outside, (MissingWeights, InputError))
    assert server.sent < 300e6


DEEP = b"[" * 100_000
LISTS: dict[str, Any] = {
    "nested": b'{"sha":' + DEEP,
    "no JSON": b"<html>",
    "empty": b"",
    "null": None,
    "list": [],
    "text": "\x1b[2J",
    "not finite": b'{"sha": NaN}',
    "digits": b'{"sha": ' + b"9" * 10_000 + b"}",
    "sha twice": b'{"sha": "a", "sha": "b"}',
    "not Unicode": b'{"sha": "\xff\xfe"}',
    "half a surrogate": b'{"sha": "\\ud800", "siblings": []}',
    "many lists": b"[" + b"[]," * 200_000 + b"[]]",
    **{f"commit {value!r}"[:40]: good_facts() | {"sha": value} for value in (
        "/../../..", "../../../home", "x", "", None, 5, ["a"], "C0FFEE12" * 5, "c0ffee12" * 5 + "\n", "g" * 40, "a" * 41,
        "٣" * 40, "\0" * 40,
    )},
    "no siblings": {"sha": COMMIT},
    **{f"siblings {value!r}": {"sha": COMMIT, "siblings": value} for value in (
        {}, None, 5, "net/a.bin", [None], [5], [[]], ["net/a.bin"], [{}], [{"rfilename": 5}], [{"rfilename": None}], [],
    )},
    **{f"size {value!r}": changed("size", value) for value in (-1, "3", True, 1.5, [], {}, 2**62, 10**13, 900_000_000)},
    **{f"lfs {value!r}": changed("lfs", value) for value in (
        [], 5, "x", True, {"sha256": 5}, {"sha256": "x"}, {"sha256": "a" * 63}, {"sha256": "../" * 20}, {"size": -1},
    )},
    **{f"name {value!r}"[:60]: named(value) for value in (
        "net/", "net//etc/passwd", "net/../x.pth", "net/../../../../x.pth", "net/a/../../../x", "net/./a", "net/a//b", "net/a\0b",
        "net/a\nb", "net/\x1b[2J", "net/..\\x", "net/C:x", "net/a.", "net/a ", "net/" + "a" * 250, "net/" + "a/" * 600 + "b",
    )},
    "same name twice": named("net/a", "net/a"),
    "other case": named("net/a.bin", "net/A.BIN"),
    "other normal form": named("net/\u00e9", "net/e\u0301"),
    "a file as a folder": named("net/a", "net/a/b"),
    "a folder as a file, other case": named("net/A/b", "net/a"),
    "a part of another": named("net/a", "net/a.part"),
    "a tag of another": named("net/a", "net/a.part.etag"),
    "a thousand and one files": named(*(f"net/{i}" for i in range(1001))),
    "without the file": named("README.md"),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_makes_no_sense(server: Server, outside: Path, name: str) -> None:
    server.facts = LISTS[name]
    refused(outside, (MissingWeights, InputError))
    assert not any("/resolve/" in path for path, _ in server.seen)
    assert not (weights_folder() / ".partial").exists()


def test_several_files_where_one_is_meant(server: Server, outside: Path) -> None:
    about = Weights("thing", "s", "MIT", repository="own/thing", files=("net/*",), single=True)
    assert "2 files" in refused(outside, InputError, about)


ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["../x", "a" * 40, COMMIT])
)
VALUES = st.recursive(
    ATOMS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=6
)
PLACES = [("sha",), ("siblings",), ("siblings", 0), ("siblings", 1), ("siblings", 0, "rfilename"), ("siblings", 0, "size")]
PLACES += [("siblings", 0, "lfs"), ("siblings", 0, "lfs", "sha256"), ("siblings", 0, "lfs", "size"), ("siblings", 2)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_a_list_with_any_value_in_any_place(server: Server, place: tuple[Any, ...], value: Any) -> None:
    facts: Any = good_facts()
    entry = facts
    for step in place[:-1]:
        entry = entry[step]
    entry[place[-1]] = value
    server.facts = facts
    with suppress(MissingWeights, InputError):
        listing = listings.list_files(ABOUT)
        assert re.fullmatch("[0-9a-f]{40}", listing.commit)
        for file in listing.files:
            assert not file.path.startswith("/") and ".." not in file.path.split("/")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_list_with_any_byte_changed(server: Server, data: st.DataObject) -> None:
    text = bytearray(json.dumps(good_facts()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    server.facts = bytes(text)
    with suppress(MissingWeights, InputError):
        listings.list_files(ABOUT)


# ---------------------------------------------------------------------------------------------------------------- files

SIZE = len(FILES[FIRST])
LENGTH = b"Content-Length: %d\r\n\r\n" % SIZE
FILE_BEHAVIORS: dict[str, Behavior] = {
    "endless": endless(OK + b"\r\n", b"x" * 64),
    "endless chunks": endless(CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
    "longer than listed": raw(OK + b"Content-Length: %d\r\n\r\n" % (SIZE + 1), FILES[FIRST] + b"x"),
    "a terabyte": endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 64),
    "more than announced": endless(OK + LENGTH, b"x" * 64),
    "other bytes": raw(OK + LENGTH, b"x" * SIZE),
    "shorter": raw(OK + b"Content-Length: 5\r\n\r\nxxxxx"),
    "empty": raw(OK + b"Content-Length: 0\r\n\r\n"),
    "slow": dripping(OK + LENGTH, b"x"),
    "slow chunks": dripping(CHUNKED, b"1\r\nx\r\n"),
    "slow headers": dripping(OK, b"X: y\r\n"),
    "endless trailers": endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "silent": silent,
    "length as text": raw(OK + b"Content-Length: many\r\n\r\nx"),
    "compressed": raw(OK + b"Content-Encoding: br\r\n\r\nx"),
    "a part, unasked": raw(b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nxxxxx"),
    "redirect to a file": raw(redirect("file:///etc/passwd")),
    "redirect to ftp": raw(redirect("ftp://127.0.0.1/a.bin")),
    "redirect to itself": lambda server, send, path, headers: send(redirect(path)),
    "status 403": raw(b"HTTP/1.1 403 \x1b[2J\r\n\r\n"),
    "status 404": endless(b"HTTP/1.1 404 No\r\n\r\n", b"y" * 1000),
    "status 416": raw(b"HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\n\r\n"),
    "status 503": raw(b"HTTP/1.1 503 No\r\n\r\n"),
}


@pytest.mark.parametrize("name", FILE_BEHAVIORS)
def test_a_server_that_sends_files_badly(server: Server, outside: Path, name: str) -> None:
    server.file = FILE_BEHAVIORS[name]
    refused(outside, (MissingWeights, InputError))
    assert server.sent < 100e6
    assert sum(path.stat().st_size for path in weights_folder().rglob("*.part")) <= SIZE
    server.file = honest_file  # what was left is no hindrance
    fetch()
    complete()


@pytest.mark.parametrize("name", ["endless", "endless chunks", "slow", "a terabyte", "empty"])
def test_a_file_of_unknown_size_is_bounded(server: Server, outside: Path, name: str) -> None:
    server.facts, server.file = {"sha": COMMIT, "siblings": [{"rfilename": "net/a.bin"}]}, FILE_BEHAVIORS[name]
    about = Weights("thing", "s", "MIT", repository="own/thing", files=("net/*",), strip="net/", size=1000)
    if name == "empty":  # it says so, and nothing says otherwise
        assert (fetch(about) / "a.bin").read_bytes() == b""
        return
    refused(outside, (MissingWeights, InputError, StoreError), about)
    assert sum(path.stat().st_size for path in weights_folder().rglob("*.part")) <= 64_002_000


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\n",
        b"HTTP/1.1 206 P\r\nContent-Range: nonsense\r\n",
        b"HTTP/1.1 206 P\r\n",
        b"HTTP/1.1 206 P\r\nContent-Range: bytes 8192-%d/%d\r\n" % (SIZE * 2, SIZE * 2),
        b"HTTP/1.1 206 P\r\nContent-Range: bytes 8192-9/*\r\nETag: \"other\"\r\n",
        b"HTTP/1.1 416 P\r\n",
        b"HTTP/1.1 416 P\r\nContent-Range: bytes */\x1b\r\n",
    ],
)  # fmt: skip
def test_a_server_that_goes_on_badly(server: Server, outside: Path, head: bytes) -> None:
    def cut_then_bad(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        send(head + b"\r\nxxxx" if "range" in headers else OK + b'ETag: "t"\r\n' + LENGTH + FILES[FIRST][:8192])

    server.file = cut_then_bad
    refused(outside, (MissingWeights, InputError))
    server.file = honest_file
    fetch()
    complete()


@pytest.mark.parametrize(
    "tag", [b"", b"ETag: \r\n", b"ETag: bare\r\n", b'ETag: W/"weak"\r\n', b"ETag: " + b"x" * 60_000 + b"\r\n"]
)
def test_without_a_tag_that_can_be_relied_on_a_file_begins_anew(server: Server, tag: bytes) -> None:
    def cut_once(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        assert "range" not in headers
        data = FILES[file_of(path)]
        count = len([p for p, _ in server.seen if p == path])
        send(OK + tag + LENGTH + (data[:4000] if count == 1 else data))

    server.file = cut_once
    fetch()
    complete()


def test_a_token_goes_to_its_own_server_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    other = Server()
    try:

        def away(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
            target = f"{other.url}{path}" if "a.bin" in path else f"/moved{path.removeprefix('/own')}"
            honest_file(server, send, f"/own{path.removeprefix('/moved')}", headers) if "moved" in path else send(
                redirect(target)
            )

        server.file = away
        fetch()
    finally:
        other.stop()
    assert [headers.get("authorization") for _, headers in other.seen] == [None]
    assert {headers.get("authorization") for _, headers in server.seen} == {"Bearer secret"}
    assert any(path.startswith("/moved") for path, _ in server.seen)
    complete()


def test_no_way_down_from_https() -> None:
    from avatarkit_cli.checkpoints.web import _followed

    with pytest.raises(InputError, match="from https down to http"):
        _followed("https://host/x", "http://host/x")
    assert _followed("https://host/x", "https://other/y") == "https://other/y"


def test_through_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.invalid")
    monkeypatch.setenv("http_proxy", server.url)
    fetch()
    complete()
    assert all(path.startswith("http://mirror.invalid/") for path, _ in server.seen)


@pytest.mark.parametrize("proxy", ["nonsense", "http://[::1", "socks5://h:1", "http://127.0.0.1:9", "http://", "file:///etc"])
def test_a_proxy_that_is_none(server: Server, outside: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.invalid")
    monkeypatch.setenv("http_proxy", proxy)
    refused(outside, MissingWeights)


def test_no_answer_to_the_greeting_of_tls(server: Server, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url.replace("http:", "https:"))
    refused(outside, MissingWeights)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "nonsense",
            "ftp://host",
            "file:///etc",
            "http://",
            "https://:80",
            "http://a b",
            "http://h\n",
            "http://h:99999",
            "http://h:x",
        ),
        *(
            "http://[::1",
            "http://user:pw@host",
            "http://h?x=1",
            "http://h#x",
            "http://h\\x",
            "http://höst",
            "\x1b[2J",
            "h" * 5000,
        ),
    ],
)
def test_an_endpoint_that_is_none(outside: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value if value != "http://h\n" else "http://h\nost")
    assert "HF_ENDPOINT is" in refused(outside, ConfigError)


@pytest.mark.parametrize("value", ["a b", "a\nX-Injected: 1", "tökén", "x" * 5000])
def test_a_token_that_is_none(server: Server, outside: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    message = refused(outside, ConfigError)
    assert "HF_TOKEN" in message and value not in message
    assert server.seen == []


# ---------------------------------------------------------------------------------------------------------------- https


def test_plain_requests_read_no_certificates(server: Server, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them takes time that would count against the server."""

    def read(*_: object) -> None:
        raise AssertionError("certificates are read")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    fetch()
    complete()
    with pytest.raises(AssertionError, match="certificates are read"):
        open_url(server.url.replace("http:", "https:"), {}, Clock(5, 5))


def test_an_unknown_certificate_is_refused(outside: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime(2020, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, datetime(2099, 1, 1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (outside / "server.pem").write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(outside / "server.pem")

    def greet() -> None:
        with suppress(OSError), listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True):
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(Broken, match=r"(?i)certificate"):
            open_url(f"https://localhost:{listener.getsockname()[1]}/", {}, Clock(5, 5))
        thread.join(10)


# ------------------------------------------------------------------------------------------------------- the user's disk


def interrupted(server: Server) -> Path:
    """Leaves the first file half fetched; returns its part."""

    def cut(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        send(OK + b'ETag: "t"\r\n' + LENGTH + FILES[FIRST][:8192])

    server.file = cut
    with pytest.raises(MissingWeights, match="cut off"):
        fetch()
    server.file = honest_file
    (part,) = weights_folder().rglob("*.part")
    return part


@pytest.mark.parametrize("which", ["part", "tag", "folder", "records", "partial", "target"])
@pytest.mark.parametrize("how", ["link", "dangling link"])
def test_links_are_not_followed(server: Server, outside: Path, which: str, how: str) -> None:
    part = interrupted(server)
    place = {
        "part": part,
        "tag": part.with_name(f"{part.name}.etag"),
        "folder": part.parent / "sub",
        "records": weights_folder() / ".records",
        "partial": weights_folder() / ".partial",
        "target": weights_folder() / "thing",
    }[which]
    elsewhere = outside / "elsewhere"
    if place.is_dir():
        place.rename(outside / "was")
    else:
        place.unlink(missing_ok=True)
    if how == "link":
        elsewhere.mkdir() if which in ("folder", "records", "partial") else elsewhere.write_bytes(b"mine")
        if which == "target":  # a link that leads somewhere counts as the weights, and nothing is fetched
            place.symlink_to(elsewhere)
            assert fetch() == place and elsewhere.read_bytes() == b"mine"
            return
    place.symlink_to(elsewhere)
    before = tree(outside / "elsewhere") if elsewhere.is_dir() else others(outside)
    with pytest.raises(StoreError) as caught:
        fetch()
    assert any(words in str(caught.value) for words in ("Move", "could not", "a part of its path is a file"))
    assert (tree(elsewhere) if elsewhere.is_dir() else others(outside)) == before
    assert place.is_symlink()


def test_a_disk_that_fills_up_keeps_what_came(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, 0

    def write(descriptor: int, data: Any) -> int:
        nonlocal written
        if len(data) > 1000 and threading.current_thread() is threading.main_thread():
            if written >= 5000:
                raise OSError(errno.ENOSPC, "No space left on device")
            data = data[: 5000 - written]  # as a disk does: a part of it, then an error
            written += len(data)
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreError, match=r"disk is full.* \(5000 bytes\) is kept"):
            fetch()
    (part,) = weights_folder().rglob("*.part")
    assert part.read_bytes() == FILES[FIRST][:5000]
    fetch()
    complete()
    assert "bytes=5000-" in [headers.get("range") for _, headers in server.seen]


def test_a_hard_link_keeps_its_bytes(server: Server, outside: Path) -> None:
    part = interrupted(server)
    os.link(part, outside / "second name")
    fetch()
    complete()
    assert (outside / "second name").read_bytes() == FILES[FIRST][:8192]


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 8192, b"x" * SIZE, b"x" * (SIZE + 9)])
@pytest.mark.parametrize("tag", [None, "", "nonsense\r\nX: y", '"t"', "right", "\xff" * 2000])
def test_a_garbage_part_does_no_harm(server: Server, content: bytes, tag: str | None) -> None:
    part = interrupted(server)
    part.write_bytes(content)
    place = part.with_name(f"{part.name}.etag")
    if tag is None:
        place.unlink()
    else:
        right = f'"{hashlib.sha256(FILES[FIRST]).hexdigest()[:8]}"'
        place.write_bytes((right if tag == "right" else tag).encode("latin-1"))
    fetch()
    complete()


def test_without_a_sum_bytes_of_an_earlier_run_are_not_used(server: Server) -> None:
    for entry in server.facts["siblings"]:
        entry.pop("lfs", None)
    part = interrupted(server)
    part.write_bytes(b"x" * 8192)
    part.with_name(f"{part.name}.etag").write_text(f'"{hashlib.sha256(FILES[FIRST]).hexdigest()[:8]}"')
    fetch()
    complete()


def test_a_file_that_the_disk_damaged_is_fetched_again(server: Server) -> None:
    part = interrupted(server)
    part.with_name("a.bin").write_bytes(b"x" * SIZE)
    fetch()
    complete()


@pytest.mark.parametrize("mark", [None, b"", b"{}", b"[]", b'{"format": "avatarkit-fetch"}', b"[" * 100_000])
def test_a_folder_that_fetch_did_not_make_stays(server: Server, mark: bytes | None) -> None:
    folder = weights_folder() / ".partial" / f"thing-{COMMIT[:12]}"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"mine")
    if mark is not None:
        folder.with_name(f"{folder.name}.json").write_bytes(mark)
    before = tree(folder.parent)
    fetch()
    assert tree(folder.parent) == before
    assert (weights_folder() / "thing" / "a.bin").read_bytes() == FILES[FIRST]


def test_a_file_of_the_users_in_the_partial_folder_stays(server: Server, outside: Path) -> None:
    part = interrupted(server)
    (part.parent / "notes.txt").write_bytes(b"mine")
    with pytest.raises(StoreError, match="notes.txt lies among files"):
        fetch()
    assert (part.parent / "notes.txt").read_bytes() == b"mine"
    (part.parent / "notes.txt").unlink()
    fetch()
    complete()


def test_a_partial_folder_of_an_older_commit_goes_and_the_users_file_in_it_stays(server: Server) -> None:
    part = interrupted(server)
    (part.parent / "notes.txt").write_bytes(b"mine")
    server.facts["sha"] = "d" * 40
    fetch()
    assert tree(part.parent) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("kind", ["file", "folder", "empty folder"])
def test_existing_weights_are_never_replaced(server: Server, kind: str) -> None:
    def comes_meanwhile(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        target = weights_folder() / "thing"
        if kind == "file":
            target.write_bytes(b"mine")
        else:
            target.mkdir(exist_ok=True)
        if kind == "folder":
            (target / "a").write_bytes(b"mine")
        honest_file(server, send, path, headers)

    server.file = comes_meanwhile
    with pytest.raises(StoreError, match="is in the way"):
        fetch()
    target = weights_folder() / "thing"
    assert target.read_bytes() == b"mine" if kind == "file" else tree(target) == ({"a": b"mine"} if kind == "folder" else {})


SCRIPT = f"""
from avatarkit.hookspecs import Weights
from avatarkit_cli.checkpoints.listings import list_files
from avatarkit_cli.checkpoints.weights_files import fetch_weights
about = {ABOUT!r}
fetch_weights(about, list_files(about), lambda message, fraction: None)
"""


def test_two_at_once(server: Server, outside: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def waits(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        asked.set()
        go_on.wait(60)
        honest_file(server, send, path, headers)

    server.file = waits
    first = subprocess.Popen([sys.executable, "-c", SCRIPT])
    try:
        assert asked.wait(120)
        with pytest.raises(StoreError, match="Another run is making .*thing right now"):
            fetch()
    finally:
        go_on.set()
        code = first.wait(timeout=120)
    assert code == 0
    complete()


class _Fault:
    """Fails at the n-th call of the functions that change the disk."""

    NAMES = ("open", "write", "replace", "rename", "mkdir", "fsync", "unlink", "rmdir", "link")

    def __init__(self, at: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.error, self.calls = at, error, 0
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                self.calls += 1
                if self.calls == self.at:
                    raise self.error
            return function(*arguments, **options)

        return call


FAULTS = (OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), OSError(errno.EACCES, "no"), OSError(errno.EIO, "broken"))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_step_fails_once(server: Server, outside: Path, stride: int, single: bool) -> None:
    files = ("net/a.bin",) if single else ("net/*",)
    about = Weights("thing", "s", "MIT", repository="own/thing", files=files, strip="net/", single=single)
    target = weights_folder() / ("thing.bin" if single else "thing")
    before, at = others(outside), 1 - stride
    while True:
        at += stride
        error = FAULTS[at // stride % len(FAULTS)]
        with pytest.MonkeyPatch.context() as patch:
            fault = _Fault(at, error, patch)
            try:
                fetch(about)
                failed, kind = False, None
            except (AvatarkitError, KeyboardInterrupt) as caught:
                failed = True
                kind: type[BaseException] | None = type(caught)
        assert not failed or (kind is KeyboardInterrupt) == isinstance(error, KeyboardInterrupt)
        where = find_weights("thing")
        assert where in (None, target)  # the whole, or nothing
        if where is not None:
            content = (
                {"net/a.bin": target.read_bytes()}
                if single
                else {f"net/{n}": d for n, d in tree(target).items() if d != "folder"}
            )
            assert content == {n: d for n, d in FILES.items() if not single or n == FIRST}
        if not failed and fault.calls < at:
            break
        fetch(about)
        assert find_weights("thing") == target
        for path in sorted(target.rglob("*"), reverse=True) if target.is_dir() else ():
            path.rmdir() if path.is_dir() else path.unlink()
        target.rmdir() if target.is_dir() else target.unlink()
    assert at > 15
    assert {n: k for n, k in others(outside).items() if not n.endswith("thing.bin")} == before


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_killed_at_any_moment_it_goes_on(server: Server, outside: Path) -> None:
    before = others(outside)
    reached, goal = threading.Event(), 0

    def slowly(server: Server, send: Send, path: str, headers: dict[str, str]) -> None:
        def counted(data: bytes) -> None:
            send(data)
            if server.sent >= goal:
                reached.set()
            time.sleep(0.002)

        honest_file(server, counted, path, headers)

    server.file = slowly
    for amount in (100, 2_000, 20_000, 60_000, 100_000, 127_000, 128_000):  # bytes that each run gets before it is killed
        server.sent, goal = 0, amount
        reached.clear()
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE)
        assert process.stderr is not None
        while process.poll() is None and not reached.wait(0.01):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        process.stderr.close()
        if find_weights("thing") is not None:
            break
    server.file = honest_file
    fetch()
    assert find_weights("thing") == weights_folder() / "thing"
    assert {f"net/{n}": d for n, d in tree(weights_folder() / "thing").items() if d != "folder"} == FILES
    assert others(outside) == before
