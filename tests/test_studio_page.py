"""The page of ``avatarkit studio`` in headless Chromium; skipped where there is no node, Chromium or npm ci."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatarkit_cli.studio import server as server_module
from avatarkit_cli.studio.builds import Studio
from avatarkit_cli.studio.server import StudioServer
from avatarkit_cli.studio.workers import WORKER

WEB = Path(__file__).parent.parent / "plugins" / "avatarkit-export" / "web"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
STUB = (sys.executable, str(Path(__file__).parent / "studio_stub.py"))
pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None or not (WEB / "node_modules").is_dir(), reason="needs node, and npm ci"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.slow,
]


@contextmanager
def opened(folder: Path, command: Sequence[str] = STUB) -> Iterator[str]:
    """Run a studio; yields its address."""
    server = StudioServer(0)
    server.studio = Studio(folder, command)
    with closing(server.studio), server.running() as address:
        yield address


def visit(address: str, steps: list[list[Any]], seconds: int = 240, **options: Any) -> list[Any]:
    """Play steps on the page and return their results; nothing may fail, and no request may leave the machine."""
    job = {"address": address, "width": 1280, "height": 860, "seconds": seconds, **options, "steps": steps}
    run = subprocess.run(
        ["node", str(WEB / "test" / "run.js")], input=json.dumps(job), capture_output=True, text=True, check=False, cwd=WEB,
        env={**os.environ, "CHROMIUM": CHROMIUM or ""}, timeout=2 * seconds,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    done = json.loads(run.stdout)
    assert done["errors"] == []
    assert [url for url in done["requests"] if not url.startswith(address.partition("#")[0])] == []
    return done["result"]


def photo(tmp_path: Path, text: bytes, name: str) -> str:
    path = tmp_path / name
    path.write_bytes(text)
    return str(path)


TITLE = ["eval", "document.querySelector('main h2').textContent"]
INSIDE = "document.querySelector('iframe').contentWindow"
LOADED = f"""(async () => {{
    const loaded = () => {INSIDE}.location.href !== "about:blank" && {INSIDE}.document.readyState === "complete";
    while (!loaded()) await new Promise((done) => setTimeout(done, 25));
}})()"""


def test_the_sample_becomes_an_avatar_that_moves_and_is_exported(tmp_path: Path) -> None:
    """With real workers: the photo is checked, built and shown; it moves, and a GLB file is downloaded."""
    avatar = f"{INSIDE}.avatarkit"
    vertices = f"{avatar}.picture(32, 32).then(() => {avatar}.vertices())"
    with opened(tmp_path / "avatars", WORKER) as address:
        began = time.monotonic()
        result = visit(address, [
            ["click", "text=Try the sample"],
            ["wait", "textarea"],
            ["eval", "document.querySelector('.note').textContent"],
            ["click", "text=Build the avatar"],
            ["eval", "[document.activeElement.name, document.querySelector('#consent-problem').textContent]"],
            ["fill", "textarea", "A portrait of NASA in the public domain."],
            ["click", "text=Build the avatar"],
            ["wait", "iframe"],
            ["eval", f"{LOADED}.then(() => {avatar}Ready).then(() => 'live')"],
            ["eval", f"{avatar}.play('wave')"],
            ["eval", vertices],
            ["eval", "new Promise((done) => setTimeout(done, 1500))"],
            ["eval", vertices],
            ["click", "[aria-label='Export GLB']"],
            ["download", "[aria-label='Download GLB']", str(tmp_path / "ada.glb")],
            ["eval", "location.hash"],
        ], seconds=600)  # fmt: skip
        print(f"{time.monotonic() - began:.1f} s from the click on the sample to the downloaded file")
    assert "The legs were not seen" in result[2]
    assert result[4][0] == "consent"
    assert "consent" in result[4][1]
    assert result[8] == "live"
    before, after = (np.array(result[k]).reshape(-1, 3) for k in (10, 12))
    assert np.abs(after - before).max() > 0.01
    assert result[14] == "portrait.glb"
    assert (tmp_path / "ada.glb").read_bytes()[:4] == b"glTF"
    assert result[15] == "#avatar/portrait"
    assert (tmp_path / "avatars" / "portrait.avatar" / "manifest.json").is_file()
    assert not (tmp_path / "avatars" / "portrait.avatar" / "cache").exists()  # it would hold the photo


def test_a_bad_photo_says_why_and_another_one_can_be_taken(tmp_path: Path) -> None:
    with opened(tmp_path / "avatars") as address:
        result = visit(address, [
            ["files", "input[type=file]", photo(tmp_path, b"nobody", "beach.jpg")],
            ["wait", "[role=alert]:visible >> text=No person was found"],
            TITLE,
            ["click", "text=Take another photo"],
            ["wait", ".drop"],
            ["files", "input[type=file]", photo(tmp_path, b"a crowd", "crowd.jpg")],
            ["click", "[aria-label='Person, from left to right'] >> text=2"],
            ["wait", "textarea"],
            ["eval", "document.querySelector('.note').textContent"],
            ["click", "text=Take another photo"],
            ["wait", ".drop"],
        ])  # fmt: skip
    assert result[2] == "This photo cannot be used"
    assert "Person 2." in result[8]
    assert not list((tmp_path / "avatars" / ".studio").glob("*/*.jpg"))


def test_a_photo_is_taken_with_the_camera_and_one_that_is_too_large_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MOST_PHOTO_BYTES", 200_000)
    with opened(tmp_path / "avatars") as address:
        result = visit(address, [
            ["files", "input[type=file]", photo(tmp_path, b"x" * 200_001, "large.jpg")],
            ["wait", "[role=alert] >> text=large.jpg is too large"],
            ["click", "text=Use the camera"],
            ["click", "#shoot:not(:disabled)"],
            ["wait", "textarea"],
            ["eval", "document.querySelector('input[name=name]').value"],
            ["eval", "document.querySelector('video').srcObject === null"],
        ])  # fmt: skip
        [picture] = (tmp_path / "avatars").glob(".studio/*/webcam.jpg")
        with Image.open(picture) as image:
            assert image.format == "JPEG"
            assert image.width > image.height > 200
    assert result[5:] == ["webcam", True]


def test_a_running_build_is_found_again_by_a_reload_and_a_second_tab_and_can_be_cancelled(tmp_path: Path) -> None:
    folder = tmp_path / "avatars"
    with opened(folder) as address:
        begun = visit(address, [
            ["files", "input[type=file]", photo(tmp_path, b"slow", "slow.png")],
            ["wait", "textarea"],
            ["fill", "textarea", "It is me."],
            ["key", "textarea", "Tab"],  # by the keyboard alone
            ["key", ":focus", "Tab"],
            ["fill", "input[name=name]", "My Self"],
            ["key", "input[name=name]", "Enter"],
            ["wait", ".stages li:nth-child(2)"],
            ["reload"],
            ["wait", ".stages li:nth-child(2)"],
            TITLE,
            ["eval", "location.hash"],
        ])  # fmt: skip
        assert begun[10] == "Building my-self"
        second = visit(address, [
            ["click", "#builds a"],
            ["wait", ".stages li:nth-child(2)"],
            ["eval", "location.hash"],
            ["click", "text=Cancel"],
            ["wait", "text=Continue"],
            TITLE,
        ], width=360, height=740, mobile=True)  # fmt: skip
        assert second[2] == begun[11]
        assert second[5] == "Stopped"
        (folder / "go").touch()
        visit(f"{address}{begun[11]}", [["click", "text=Continue"], ["wait", "iframe"]])
        assert (folder / "my-self.avatar" / "manifest.json").is_file()


def test_an_avatar_that_is_live_before_its_pictures_stays_so_when_they_are_made(tmp_path: Path) -> None:
    """The frame is not loaded again, and nothing takes the focus out of it."""
    folder, seen = tmp_path / "avatars", tmp_path / "live.png"

    def go_on() -> None:
        while not seen.exists():
            time.sleep(0.05)
        (folder / "go").touch()

    threading.Thread(target=go_on, daemon=True).start()
    with opened(folder) as address:
        result = visit(address, [
            ["files", "input[type=file]", photo(tmp_path, b"pictures", "ada.png")],
            ["fill", "textarea", "It is me."],
            ["click", "text=Build the avatar"],
            ["wait", "iframe"],
            ["wait", "text=Building ada"],
            ["eval", f"{LOADED}.then(() => {{ {INSIDE}.mark = 'kept'; {INSIDE}.focus(); }})"],
            ["screenshot", str(seen)],
            ["wait", "text=Take it with you"],
            ["eval", f"[{INSIDE}.mark, document.activeElement.tagName, location.hash]"],
            ["eval", "[...document.querySelectorAll('main h2')].map((e) => e.textContent)"],
            ["reload"],
            ["wait", "iframe"],
            ["eval", f"{INSIDE}.mark ?? 'new'"],
        ])  # fmt: skip
    assert result[8] == ["kept", "IFRAME", "#avatar/ada"]
    assert result[9] == ["ada", "Take it with you", "Let it move like a video", "About it"]
    assert result[12] == "new"


def test_an_avatar_is_deleted_only_after_a_question(tmp_path: Path) -> None:
    folder = tmp_path / "avatars"
    with opened(folder) as address:
        visit(address, [
            ["files", "input[type=file]", photo(tmp_path, b"a photo", "ada.png")],
            ["fill", "textarea", "It is me."],
            ["click", "text=Build the avatar"],
            ["wait", "iframe"],
            ["click", "button:text-is('Delete')"],
            ["wait", "dialog[open] >> text=Keep it"],
            ["click", "text=Keep it"],
        ])  # fmt: skip
        assert (folder / "ada.avatar").is_dir()
        steps = [["click", "button:text-is('Delete')"], ["click", "#delete"], ["wait", ".drop"], ["wait", "text=None yet."]]
        visit(f"{address}#avatar/ada", steps)
    assert not (folder / "ada.avatar").exists()


FITS = "document.documentElement.scrollWidth <= innerWidth"
NAMELESS = """[...document.querySelectorAll("button, input, textarea, a[href], iframe, progress, img")]
    .filter((e) => e.checkVisibility())
    .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.title || e.alt || e.labels?.length))
    .map((e) => e.outerHTML)"""
FAINT = """(() => {
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (color) => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data];
    };
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = (e) => {
        while (e && rgb(getComputedStyle(e).backgroundColor)[3] < 250) e = e.parentElement;
        return e ? getComputedStyle(e).backgroundColor : "white";
    };
    const contrast = (e) => {
        const pair = [getComputedStyle(e).color, ground(e)].map((color) => light(rgb(color)) + 0.05);
        return Math.max(...pair) / Math.min(...pair);
    };
    return [...document.querySelectorAll("h1, h2, h3, p, li, small, b, button, .button, label, legend")]
        .filter((e) => e.checkVisibility() && e.textContent.trim() && !e.disabled && contrast(e) < 4.5)
        .map((e) => e.outerHTML);
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_everything_on_it_has_a_name(tmp_path: Path, width: int, dark: bool) -> None:
    """No sideways scrolling, no control without a label, and text that stands out from its ground (WCAG AA)."""
    fits, nameless, faint = (["eval", code] for code in (FITS, NAMELESS, FAINT))
    looks = [fits, nameless, faint]
    with opened(tmp_path / "avatars") as address:
        result = visit(address, [
            ["wait", ".drop"], *looks,
            ["files", "input[type=file]", photo(tmp_path, b"nobody", "beach.jpg")], ["wait", ".note"], *looks,
            ["click", "text=Take another photo"],
            ["files", "input[type=file]", photo(tmp_path, b"a photo", f"{'long' * 20}.jpg")], ["wait", "textarea"], *looks,
            ["fill", "textarea", "It is me."], ["click", "text=Build the avatar"], ["wait", "iframe"], *looks,
        ], width=width, dark=dark, mobile=width < 600)  # fmt: skip
    assert [value for value in result if value not in (None, [], True)] == []
