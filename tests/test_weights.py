"""``avatarkit weights``: fetched whole and right, or not at all, from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from avatarkit.utils.paths import find_weights, weights_record
from avatarkit_cli.checkpoints import downloads
from avatarkit_cli.main import app

FILES = {
    f"liveportrait/{name}": hashlib.sha512(name.encode()).digest() * 4000
    for name in (
        *("base_models/appearance_feature_extractor.pth", "base_models/motion_extractor.pth"),
        "retargeting_models/stitching_retargeting_module.pth",
    )
}
FIRST = next(iter(FILES))
COMMIT = "c0ffee12" * 5


class Server:
    """Answers as Hugging Face does; its fields make it misbehave.

    Attributes:
        cut: path -> bytes after which a connection is closed, once each. swapped: path -> other bytes than it tells of.
        status: of the list of files. asked: (path, range) of all requests. tokens: that were sent, by port.
    """

    def __init__(self) -> None:
        self.cut: dict[str, int] = {}
        self.always_cut = False
        self.swapped: dict[str, bytes] = {}
        self.ranges = True
        self.status = 200
        self.facts: dict[str, Any] | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.tokens: list[str | None] = []

    def list(self) -> bytes:
        siblings = [
            {"rfilename": name, "size": len(data), "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}
            for name, data in FILES.items()
        ]
        siblings.append({"rfilename": "README.md", "size": 3})
        return json.dumps(self.facts or {"sha": COMMIT, "siblings": siblings}).encode()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append((self.path, asked))
            server.tokens.append(self.headers.get("Authorization"))
            if self.path.startswith("/api/models/KwaiVGI/LivePortrait/revision/main"):
                data = server.list()
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return
            name = self.path.split("/", 5)[-1]
            data = server.swapped.get(name, FILES[name])
            start, tag = 0, f'"{hashlib.sha256(data).hexdigest()[:8]}"'
            if asked and server.ranges and self.headers.get("If-Range") == tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = server.cut.get(name, len(data)) if server.always_cut else server.cut.pop(name, len(data))
            self.wfile.write(data[start : max(end, start)])

    return Handler


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    facts = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(facts))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{http.server_port}")
    for name in ("HF_TOKEN", "AVATARKIT_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.01)
    yield facts
    http.shutdown()
    http.server_close()
    thread.join()


def fetch(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["weights", "fetch", "liveportrait", *arguments])


def _complete(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "weights" / "liveportrait"
    assert find_weights("liveportrait") == folder
    found = {f"liveportrait/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == FILES
    assert not list((folder.parent / ".partial").iterdir())


def test_fetched_checked_and_recorded(server: Server, tmp_path: Path) -> None:
    result = fetch("--yes")
    assert result.exit_code == 0, result.stderr
    assert "License: MIT (Kuaishou); commercial use allowed" in result.stderr
    assert result.stdout.strip() == str(tmp_path / "cache" / "weights" / "liveportrait")
    _complete(tmp_path)
    record = weights_record("liveportrait")
    assert record is not None
    assert record["commit"] == COMMIT
    digests = {name.removeprefix("liveportrait/"): hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert record["sha256"] == digests
    listed = CliRunner().invoke(app, ["weights", "list", "--json"])
    (entry,) = (w for w in json.loads(listed.stdout)["weights"] if w["name"] == "liveportrait")
    assert (entry["commercial"], entry["gated"], entry["fetched"]) == (True, False, record)
    assert CliRunner().invoke(app, ["weights", "where", "liveportrait"]).stdout.strip() == entry["path"]
    before = len(server.asked)
    assert fetch().exit_code == 0  # it is here: nothing is asked
    assert len(server.asked) == before


def test_nothing_is_fetched_without_a_yes(server: Server) -> None:
    result = fetch()
    assert result.exit_code == 2
    assert "License: MIT" in result.stderr
    assert "Use --yes if you accept this license" in result.stderr
    assert server.asked == []


def test_offline_means_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_OFFLINE", "1")
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "AVATARKIT_OFFLINE disables" in result.stderr
    assert server.asked == []


def test_what_was_cut_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = {FIRST: 1000}
    assert fetch("--yes").exit_code == 0
    ranges = [asked for path, asked in server.asked if path.endswith(FIRST)]
    assert ranges == [None, "bytes=1000-"]
    _complete(tmp_path)


def test_an_interrupted_fetch_goes_on_another_day(server: Server, tmp_path: Path) -> None:
    server.cut, server.always_cut = {FIRST: 1000}, True
    result = fetch("--yes")
    assert result.exit_code == 2
    assert f"was cut off after 1000 of {len(FILES[FIRST])} bytes" in result.stderr
    assert "give the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert find_weights("liveportrait") is None
    server.cut, server.always_cut = {}, False
    server.asked.clear()
    assert fetch("--yes").exit_code == 0
    assert [asked for path, asked in server.asked if path.endswith(FIRST)] == ["bytes=1000-"]
    _complete(tmp_path)


def test_bytes_of_two_versions_are_not_mixed(server: Server, tmp_path: Path) -> None:
    server.swapped, server.cut, server.always_cut = {FIRST: b"old" * 100000}, {FIRST: 1000}, True
    assert fetch("--yes").exit_code == 2
    server.swapped, server.cut, server.always_cut = {}, {}, False
    assert fetch("--yes").exit_code == 0
    _complete(tmp_path)


def test_servers_that_cannot_resume_begin_anew(server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = {FIRST: 1000}, False
    assert fetch("--yes").exit_code == 0
    _complete(tmp_path)


def test_a_wrong_checksum_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    server.swapped = {FIRST: FILES[FIRST][:-1] + b"x"}
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "is not what it should be and was deleted: its sha256 is" in result.stderr
    assert "Traceback" not in result.stderr
    assert find_weights("liveportrait") is None
    server.swapped = {}
    assert fetch("--yes").exit_code == 0
    _complete(tmp_path)


def test_truncated_and_overlong_files_never_count(server: Server, tmp_path: Path) -> None:
    server.swapped = {FIRST: FILES[FIRST][:-5]}
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "was cut off" in result.stderr
    server.swapped = {FIRST: FILES[FIRST] + b"more"}
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "longer than the" in result.stderr
    server.swapped = {}
    assert fetch("--yes").exit_code == 0
    _complete(tmp_path)


@pytest.mark.parametrize(("status", "message"), [(401, "is gated: accept its terms"), (404, "answers 404"), (500, "answers 500")])
def test_refusals(server: Server, status: int, message: str) -> None:
    server.status = status
    result = fetch("--yes")
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    "facts", [{"nothing": 1}, {"sha": "x", "siblings": [{"rfilename": "liveportrait/base_models/../../../../x.pth"}]}]
)
def test_strange_answers(server: Server, facts: dict[str, Any], tmp_path: Path) -> None:
    server.facts = facts
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "nothing was fetched" in result.stderr
    assert not list(tmp_path.rglob("x.pth"))


def test_a_server_that_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = fetch("--yes")
    assert result.exit_code == 2
    assert "127.0.0.1:9 is not reached" in result.stderr


def test_the_users_token_is_sent_only_where_it_was_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch("--yes").exit_code == 0
    assert set(server.tokens) == {"Bearer secret"}


def test_weights_that_only_people_can_get() -> None:
    result = CliRunner().invoke(app, ["weights", "fetch", "portrait4d", "--yes"])
    assert result.exit_code == 2
    assert "cannot be downloaded automatically. Get it from github.com/YuDeng/Portrait-4D" in result.stderr


def test_the_list_tells_source_size_and_terms() -> None:
    text = CliRunner().invoke(app, ["weights", "list"], env={"COLUMNS": "200"}).stdout
    for word in ("mimicmotion-1-1", "3.0 GB", "no commercial use", "gated", "wan-animate-14b", "82.3 GB", "Apache-2.0 (Alibaba)"):
        assert word in text
