"""The viewer's server: clients that say nothing, too much, or leave, and pages of others in the browser."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from avatarkit_cli import page_server
from avatarkit_cli.page_server import PageServer

POLICY = b"default-src 'none'; img-src data:"
PAGE = b'<!doctype html><meta http-equiv="Content-Security-Policy" content="' + POLICY + b'"><title>Ada</title>'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    monkeypatch.setattr(page_server, "MOST_CLIENTS", 4)
    monkeypatch.setattr(page_server, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(page_server, "ANSWER_SECONDS", 1.0)
    made = PageServer(0)
    made.page = PAGE
    with made.running():
        yield made


def ask(server: PageServer, method: str = "GET", path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with closing(connection):
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer


def say(server: PageServer, data: bytes) -> bytes:
    """What the server answers to these bytes until it hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as client:
        answer = b""
        try:
            client.sendall(data)
            while part := client.recv(65536):
                answer += part
        except ConnectionError:
            pass
        return answer


def test_the_page_comes_with_headers_that_lock_it_in(server: PageServer) -> None:
    answer = ask(server)
    assert (answer.status, answer.body) == (200, PAGE)
    policy = answer.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy and "form-action 'none'" in policy
    for name, value in (
        ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"), ("Server", "avatarkit"),
        ("Cache-Control", "no-store"),
    ):  # fmt: skip
        assert answer.getheader(name) == value
    assert answer.getheader("Access-Control-Allow-Origin") is None
    head = ask(server, "HEAD")
    assert (head.status, head.body, head.getheader("Content-Length")) == (200, b"", str(len(PAGE)))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:1"}, 200),
        ({"Host": "127.0.0.1:80"}, 200),
        ({"Host": "ada.example:80"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": "evil@127.0.0.1:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
    ],
)
def test_pages_of_others_get_nothing(server: PageServer, headers: dict[str, str], status: int) -> None:
    answer = ask(server, **headers)
    assert answer.status == status
    assert (answer.body == PAGE) == (status == 200)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"BREW / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),
        (b"GET /\r\n\r\n", b"403"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost:1\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"Host: localhost:1\r\n\r\n", b"431"),
        (b"\0" * 100 + b"\r\n\r\n", b"400"),
        (b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: localhost:1\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nHost: localhost:1\r\nHost: evil.example:1\r\n\r\n", b"403"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost:1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\nHost: localhost:1\r\n\r\n", b""),
    ],
)
def test_requests_that_are_none_get_a_line(
    server: PageServer, data: bytes, status: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = say(server, data)
    assert PAGE not in answer and b"<" not in answer
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))
    assert status in answer.split(b"\r\n")[0]
    assert ask(server).status == 200
    assert capfd.readouterr() == ("", "")


def test_silent_and_slow_clients_are_dropped(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as silent,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as slow,
    ):
        slow.settimeout(0.2)
        ended = False
        while not ended and time.monotonic() - started < 8:  # a byte now and then resets no clock
            try:
                slow.sendall(b"G")
                ended = slow.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
        assert ended and time.monotonic() - started < 5
        assert silent.recv(1) == b""
    assert time.monotonic() - started < 5
    assert capfd.readouterr() == ("", "")


def test_half_open_connections_lock_nobody_out(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "REQUEST_SECONDS", 10.0)
    clients = [socket.create_connection(("127.0.0.1", server.server_port), timeout=60) for _ in range(40)]
    try:
        started, before = time.monotonic(), threading.active_count()
        assert ask(server).status == 200
        assert time.monotonic() - started < 9  # it does not wait for their time to be up
        assert before < 20
    finally:
        for client in clients:
            client.close()


def test_clients_that_leave_leave_no_trace(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.page = b"x" * 20_000_000
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
            client.recv(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
    stuck = socket.create_connection(("127.0.0.1", server.server_port), timeout=60)
    stuck.sendall(b"GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n")  # and never reads
    until = time.monotonic() + 8
    while (server._asking or server._answered) and time.monotonic() < until:
        time.sleep(0.05)
    assert not server._asking and not server._answered
    stuck.close()
    assert capfd.readouterr() == ("", "")


def test_a_signal_ends_serving_with_130() -> None:
    if sys.platform == "win32":
        pytest.skip("needs signals of POSIX")
    code = (
        "from avatarkit_cli import interrupts\ninterrupts.install()\n"
        "from avatarkit_cli.page_server import PageServer\nserver = PageServer(0)\n"
        "try:\n    print('ready', flush=True)\n    server.serve_forever()\n"
        "except KeyboardInterrupt as error:\n    print(interrupts.sentence(error), flush=True)\n    interrupts.end()"
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (130, "")
        assert output.startswith("avatarkit: interrupted. ")
