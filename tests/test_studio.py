"""The server of ``avatarkit studio``, with workers that build nothing; ``test_studio_page.py`` has the page and a real build."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from avatarkit_cli.studio import builds, server
from avatarkit_cli.studio.builds import Studio
from avatarkit_cli.studio.library import Library, slug
from avatarkit_cli.studio.server import StudioServer

STUB = (sys.executable, str(Path(__file__).parent / "studio_stub.py"))


class Client:
    """Asks a studio as its page does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = StudioServer(0)
        self.studio = self.server.studio = Studio(folder, STUB)
        self._open = ExitStack()
        self._open.callback(self.studio.close)
        self._open.enter_context(self.server.running())
        self.until(lambda state: state["ready"])

    def close(self) -> None:
        self._open.close()

    def raw(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=120)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        given = {"X-Avatarkit-Token": self.server.token, **{k.replace("_", "-"): v for k, v in headers.items()}}
        status, _, data = self.raw(method, path, json.dumps(body) if isinstance(body, dict) else body, given)
        return status, json.loads(data) if data.startswith(b"{") else data

    def state(self) -> dict[str, Any]:
        return json.loads(self.raw("GET", "/api/state")[2])

    def until(self, reached: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the state once it is as wanted."""
        for _ in range(600):
            if reached(state := self.state()):
                return state
            time.sleep(0.03)
        raise AssertionError(state)

    def one(self, id: str, *states: str) -> dict[str, Any]:
        """Return a build once it is in one of these states."""
        found = self.until(lambda state: any(b["id"] == id and b["state"] in states for b in state["builds"]))
        return next(b for b in found["builds"] if b["id"] == id)

    def drop(self, photo: bytes, name: str = "ada.jpg") -> str:
        status, answer = self.ask("POST", "/api/photos", photo, X_Name=quote(name))
        assert status == 201, answer
        return answer["id"]

    def build(self, photo: bytes, name: str = "ada.jpg", **given: Any) -> str:
        id = self.drop(photo, name)
        self.one(id, "ready")
        assert self.ask("POST", f"/api/builds/{id}/build", {"preset": "instant", "consent": "Ada agreed.", **given})[0] == 200
        return id


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path / "avatars")
    yield made
    made.close()


def test_a_photo_becomes_an_avatar_that_can_be_seen_and_downloaded(client: Client) -> None:
    id = client.drop(b"a photo", "Ada Lovelace.JPG")
    checked = client.one(id, "ready")
    assert (checked["title"], checked["name"]) == ("Ada Lovelace.JPG", "ada-lovelace")
    assert checked["advice"] == ["Come closer."]
    assert client.raw("GET", f"/photos/{id}")[2] == b"a photo"
    assert client.ask("POST", f"/api/builds/{id}/build", {"preset": "draft", "consent": "Ada agreed."})[0] == 200
    done = client.one(id, "done")
    assert [stage["name"] for stage in done["stages"]] == ["tracking", "avatar", "preview"]
    assert all(stage["seconds"] >= 0 for stage in done["stages"])
    [avatar] = client.state()["avatars"]
    expected = {
        "name": "ada-lovelace",
        "preset": "draft",
        "consent": "Ada agreed.",
        "own": True,
        "fit": "25.0 dB PSNR inside the matte",
    }
    assert avatar | expected == avatar
    assert avatar["files"] == {"view": {"state": "ready", "message": ""}}
    assert not list(client.folder.glob(".studio/*/*.jpg"))  # the photo is not kept
    status, headers, page = client.raw("GET", "/avatars/ada-lovelace/view")
    assert (status, page) == (200, b"<p>page</p>")
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert client.raw("GET", "/avatars/ada-lovelace/files/glb")[0] == 404
    assert client.ask("POST", "/api/avatars/ada-lovelace/files/glb", {})[0] == 200
    client.until(lambda state: state["avatars"][0]["files"].get("glb", {}).get("state") == "ready")
    status, headers, file = client.raw("GET", "/avatars/ada-lovelace/files/glb")
    assert (status, file) == (200, b"glb")
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''ada-lovelace.glb"


def test_an_avatar_is_seen_before_its_pictures_are_made(client: Client) -> None:
    id = client.build(b"pictures")
    assert client.raw("GET", f"/builds/{'0' * 32}/view")[0] == 404
    running = client.until(lambda state: [build for build in state["builds"] if build["shown"]])
    assert (running["builds"][0]["state"], running["avatars"]) == ("building", [])
    status, headers, page = client.raw("GET", f"/builds/{id}/view")
    assert (status, page) == (200, b"<p>page</p>")
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert client.ask("POST", f"/api/builds/{id}/cancel")[0] == 200
    client.one(id, "stopped")
    assert client.ask("POST", f"/api/builds/{id}/resume")[0] == 200
    (client.folder / "go").touch()
    client.one(id, "done")
    assert client.raw("GET", "/avatars/ada/view")[2] == page
    assert client.raw("GET", f"/builds/{id}/view")[2] == page  # who looked a moment ago asks for it only now
    assert client.raw("GET", f"/photos/{id}")[2] == b"png"


def test_a_bad_photo_is_refused_with_the_message_of_the_command(client: Client) -> None:
    refused = client.one(client.drop(b"nobody"), "refused")
    assert refused["message"] == "No person was found in the photo."
    assert client.ask("POST", f"/api/builds/{refused['id']}/build", {"preset": "instant", "consent": "yes"})[0] == 422
    assert client.ask("DELETE", f"/api/builds/{refused['id']}")[0] == 200
    assert client.state()["builds"] == []
    assert [path.name for path in (client.folder / ".studio").iterdir() if not path.name.startswith("session-")] == []


def test_one_of_several_people_is_chosen(client: Client) -> None:
    id = client.drop(b"a crowd")
    assert client.one(id, "refused")["people"] == 3
    assert client.ask("POST", f"/api/builds/{id}/choose", {"person": 0})[0] == 422
    assert client.ask("POST", f"/api/builds/{id}/choose", {"person": 2})[0] == 200
    assert client.one(id, "ready")["notes"] == ["Person 2."]


@pytest.mark.parametrize(
    "given",
    [
        {"consent": ""},
        {"consent": "  \n"},
        {"consent": "x" * (builds.MOST_CONSENT + 1)},
        {"consent": "/home/ada/secret.toml"},
        {"consent": 1},
        {"preset": "paper"},
        {"preset": "../recipe"},
    ],
)
def test_no_build_begins_without_consent_and_a_known_preset(client: Client, given: dict[str, Any]) -> None:
    id = client.drop(b"a photo")
    client.one(id, "ready")
    status, answer = client.ask("POST", f"/api/builds/{id}/build", {"preset": "instant", "consent": "Ada agreed."} | given)
    assert status == 422
    assert answer["error"].endswith(".")
    assert client.one(id, "ready")["consent"] == ""


def test_builds_queue_and_can_be_cancelled_and_continued(client: Client) -> None:
    first, second = client.build(b"slow", "first.jpg"), client.build(b"slow", "second.jpg")
    client.one(first, "building")
    assert client.one(second, "queued")["stages"] == []
    third = client.drop(b"a photo")
    client.one(third, "ready")  # checks do not wait for builds
    assert client.ask("POST", f"/api/builds/{second}/cancel")[0] == 200
    client.one(second, "stopped")
    running = client.one(first, "building")
    assert running["stages"][0]["seconds"] is not None
    assert client.ask("POST", f"/api/builds/{first}/cancel")[0] == 200
    assert "kept" in client.one(first, "stopped")["message"]
    assert client.ask("POST", f"/api/builds/{first}/cancel")[0] == 422
    (client.folder / "go").touch()
    for id in (first, second):
        assert client.ask("POST", f"/api/builds/{id}/resume")[0] == 200
    client.one(second, "done")
    assert {avatar["name"] for avatar in client.state()["avatars"]} == {"first", "second"}


def test_a_worker_that_dies_takes_nothing_down(client: Client) -> None:
    id = client.build(b"crash")
    failed = client.one(id, "failed")
    assert "exit code 9" in failed["message"]
    assert "the last words" in failed["log"]
    client.one(client.build(b"a photo"), "done")


def test_removing_a_photo_stops_its_build(client: Client) -> None:
    id = client.build(b"slow")
    client.one(id, "building")
    assert client.ask("DELETE", f"/api/builds/{id}")[0] == 200
    client.until(lambda state: not state["builds"])
    (client.folder / "go").touch()
    client.one(client.build(b"a photo", "next.jpg"), "done")  # the lane is free
    assert [avatar["name"] for avatar in client.state()["avatars"]] == ["next"]


def test_what_was_not_finished_can_be_continued_after_a_restart(client: Client, tmp_path: Path) -> None:
    running, ready = client.build(b"slow", "running.jpg"), client.drop(b"a photo", "ready.jpg")
    client.one(running, "building")
    client.one(ready, "ready")
    client.close()
    again = Client(client.folder)
    try:
        assert "closed" in again.one(running, "stopped")["message"]
        assert again.one(ready, "ready")["notes"] == ["Person None."]
        (again.folder / "go").touch()
        assert again.ask("POST", f"/api/builds/{running}/resume")[0] == 200
        again.one(running, "done")
    finally:
        again.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Avatarkit-Token": ""},
        {"X-Avatarkit-Token": "guess"},
        {"X-Avatarkit-Token": "\u00e9"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/photos"), ("POST", "/api/sample"), ("DELETE", "/api/avatars/ada")])
def test_pages_of_others_change_nothing(client: Client, method: str, path: str, headers: dict[str, str]) -> None:
    given = {"X-Avatarkit-Token": client.server.token, **headers}
    assert client.raw(method, path, b"a photo", given)[0] == 403
    assert client.state()["builds"] == []
    if "X-Avatarkit-Token" not in headers:
        assert client.raw("GET", "/api/state", None, headers)[0] == 403


def test_the_token_is_in_the_page_alone(client: Client) -> None:
    status, headers, page = client.raw("GET", "/")
    assert status == 200
    assert re.search(rb'<meta name="token" content="([^"]+)">', page)[1].decode() == client.server.token  # type: ignore[index]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert client.server.token.encode() not in client.raw("GET", "/api/state")[2]
    for part in re.findall(rb'(?:src|href)="(/[^"]+)"', page):
        assert client.raw("GET", part.decode())[0] == 200


def test_uploads_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"X-Avatarkit-Token": client.server.token}
    monkeypatch.setattr(server, "MOST_PHOTO_BYTES", 1000)
    assert client.raw("POST", "/api/photos", b"x" * 1000, token)[0] == 201
    assert client.raw("POST", "/api/photos", b"x" * 1001, token)[0] == 413
    assert client.raw("POST", "/api/photos", None, {**token, "Content-Length": "99999999999999999999999"})[0] == 411
    assert client.raw("POST", "/api/photos", iter([b"x"]), token)[0] == 411  # chunked
    assert client.ask("POST", "/api/photos", b"")[0] == 422
    assert client.raw("POST", "/api/builds/x/build", b"{" + b" " * (70 << 10) + b"}", token)[0] == 413
    monkeypatch.setattr(builds, "MOST_PHOTOS", 2)
    client.drop(b"a photo")
    status, answer = client.ask("POST", "/api/photos", b"a photo")
    assert status == 422
    assert "wait already" in answer["error"]


def test_an_upload_that_breaks_off_leaves_nothing(client: Client) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", client.server.server_port)) as connection:
        head = f"POST /api/photos HTTP/1.1\r\nHost: localhost:1\r\nX-Avatarkit-Token: {client.server.token}\r\n"
        connection.sendall(f"{head}Content-Length: 99\r\n\r\nhalf".encode())
        client.until(lambda state: len(state["builds"]) == 1)
    client.until(lambda state: not state["builds"])
    assert [path.name for path in (client.folder / ".studio").iterdir() if not path.name.startswith("session-")] == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..", ".", "/etc/passwd", "C:\\con.png", "a/b.jpg", "\0.jpg", "", "x" * 5000, "\u202egpj.exe", "con"],
)
def test_no_path_is_made_of_the_name_of_a_file(client: Client, name: str) -> None:
    id = client.build(b"a photo", name)
    client.one(id, "done")
    [avatar] = client.folder.glob("*.avatar")
    assert re.fullmatch(r"[\w-]{1,60}\.avatar", avatar.name)
    assert sorted(path.name for path in client.folder.parent.iterdir()) == ["avatars"]


@pytest.mark.parametrize(
    "path",
    [
        "/api", "/studio.py", "/../server.py", "/photos/..", "/photos/x", "/avatars/ada/manifest.json",
        "/avatars/../made.json/view",
        "/avatars/%2e%2e%2f.studio/view", "/avatars/ada/files/..%2f..%2fmade",
        "/avatars/.studio/preview.png", "/%00", "/avatars/ada/files/%00",
    ],
)  # fmt: skip
def test_only_what_is_known_is_served(client: Client, path: str) -> None:
    client.one(client.build(b"a photo"), "done")
    assert client.raw("GET", path)[0] == 404


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"unknown": 1}', b'{"preset": [], "consent": {}}', b"[" * 60000])
def test_malformed_requests_are_refused(client: Client, body: bytes) -> None:
    id = client.drop(b"a photo")
    client.one(id, "ready")
    status = client.raw("POST", f"/api/builds/{id}/build", body, {"X-Avatarkit-Token": client.server.token})[0]
    assert status in (400, 422)
    assert client.one(id, "ready")["message"] == ""


def test_only_avatars_that_the_studio_made_are_deleted(client: Client, tmp_path: Path) -> None:
    client.one(client.build(b"a photo", "own.jpg"), "done")
    client.one(client.build(b"a photo", "changed.jpg"), "done")
    client.one(client.build(b"a photo", "mine.jpg"), "done")
    manifest = client.folder / "changed.avatar" / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8") + " ", encoding="utf-8")
    (client.folder / "mine.avatar" / "notes.txt").write_text("mine", encoding="utf-8")
    foreign = client.folder / "foreign.avatar"
    foreign.mkdir()
    (foreign / "manifest.json").write_text(
        json.dumps({"format": "avatarkit-avatar", "files": {"../own.avatar/x": ""}}), encoding="utf-8"
    )
    own = {avatar["name"]: avatar["own"] for avatar in client.state()["avatars"]}
    assert own == {"own": True, "mine": True, "changed": False, "foreign": False}
    assert [client.ask("DELETE", f"/api/avatars/{name}")[0] for name in own] == [200 if yes else 422 for yes in own.values()]
    assert client.ask("DELETE", "/api/avatars/..")[0] == 422
    assert not (client.folder / "own.avatar").exists()
    assert [path.name for path in (client.folder / "mine.avatar").iterdir()] == ["notes.txt"]
    assert manifest.is_file()
    assert foreign.is_dir()
    assert {avatar["name"] for avatar in client.state()["avatars"]} == {"changed", "foreign"}


def test_an_avatar_follows_videos(client: Client) -> None:
    client.one(client.build(b"a photo"), "done")
    for name, plays in (("../Dance.mp4", "['dance']"), ("dance.mp4", "['dance-2', 'dance']")):
        assert client.ask("POST", "/api/avatars/ada/video", b"a video", X_Name=quote(name))[0] == 201
        client.until(lambda state: state["avatars"][0]["files"]["drive"]["state"] == "ready")
        assert client.raw("GET", "/avatars/ada/view")[2].decode() == f"<p>page {plays}</p>"
    assert client.ask("POST", "/api/avatars/ada/video", b"nobody", X_Name="x.mp4")[0] == 201
    found = client.until(lambda state: state["avatars"][0]["files"]["drive"]["state"] == "failed")
    assert found["avatars"][0]["files"]["drive"]["message"] == "No person was found in the video."
    assert found["avatars"][0]["files"]["view"]["version"] == "dance-2"
    assert not list(client.folder.rglob("*.video"))
    assert client.ask("POST", "/api/avatars/bob/video", b"a video")[0] == 422


def test_an_avatar_of_the_same_name_is_never_replaced(client: Client) -> None:
    for _ in range(2):
        client.one(client.build(b"a photo"), "done")
        for build in client.state()["builds"]:
            client.ask("DELETE", f"/api/builds/{build['id']}")
    assert {avatar["name"] for avatar in client.state()["avatars"]} == {"ada", "ada-2"}


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="needs links")
def test_links_among_the_avatars_lead_nowhere(client: Client, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_text("{}", encoding="utf-8")
    (client.folder / "linked.avatar").symlink_to(outside, target_is_directory=True)
    client.one(client.build(b"a photo"), "done")
    (client.folder / "ada.avatar" / "report.html").symlink_to(outside / "manifest.json")
    assert [avatar["name"] for avatar in client.state()["avatars"]] == ["ada"]
    assert client.raw("GET", "/avatars/ada/report.html")[0] == 404


def test_a_report_runs_without_an_origin(client: Client) -> None:
    client.one(client.build(b"a photo"), "done")
    (client.folder / "ada.avatar" / "report.html").write_text("<p>report</p>", encoding="utf-8")
    policy = client.raw("GET", "/avatars/ada/report.html")[1]["Content-Security-Policy"]
    assert "sandbox allow-scripts" in policy
    assert "default-src 'none'" in policy
    assert "allow-same-origin" not in policy


def test_names_become_slugs() -> None:
    assert slug("Ada Lovelace (2)") == "ada-lovelace-2"
    assert slug("\u00c5se \u5f20\u4f1f") == "\u00e5se-\u5f20\u4f1f"
    assert slug("...") == "avatar"
    assert slug("CON") == "con-avatar"
    assert len(slug("\U00020000" * 200).encode()) <= 180


def test_a_damaged_record_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text('{"ada": 1, "bob": ["x"]', encoding="utf-8")
    (tmp_path / "ada.avatar").mkdir()
    (tmp_path / "ada.avatar" / "manifest.json").write_text("[]", encoding="utf-8")
    [facts] = Library(tmp_path, tmp_path / "made.json").describe()
    assert facts["own"] is False


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_the_command_serves_until_it_is_interrupted_and_one_folder_has_one_studio(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "avatarkit_cli", "studio", "--port", "0", "-o", "avatars"]
    environ = {**os.environ, "AVATARKIT_CACHE": str(tmp_path / "cache")}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and their children too
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    signal.signal(signal.SIGINT, before)
    try:
        assert first.stdout is not None
        found = re.fullmatch(
            r"The studio is at (http://127\.0\.0\.1:(\d+)/) .*; avatars go to avatars\n", first.stdout.readline()
        )
        assert found
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=environ)
        assert second.returncode == 2
        assert "Another run" in second.stderr
        taken = [*command[:-1], "others", "--port", found[2]]
        third = subprocess.run(taken, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=environ)
        assert third.returncode == 2
        assert f"Port {found[2]} is in use" in third.stderr
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=120)
    finally:
        first.kill()
    assert first.returncode == 130
    assert "Start it again to continue" in said
    assert [path.name for path in (tmp_path / "avatars" / ".studio").iterdir()] == []
    assert not (tmp_path / "others").exists()
