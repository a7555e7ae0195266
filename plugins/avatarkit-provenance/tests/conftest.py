"""A world with a key of its own: what these tests sign, no other test can."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from avatarkit.io.video_writer import VideoWriter
from avatarkit.registry import Registry
from avatarkit.utils.files import write_bytes
from avatarkit_cli.main import app
from avatarkit_cli.plugin_commands import add_commands
from avatarkit_provenance import keys

PHOTO = "ab" * 32
MANIFEST: dict[str, Any] = {
    "avatarkit": "0.1.0", "recipe": {"name": "draft", "body_labels": {"use": "reproject"}}, "inputs": {"photo": PHOTO},
    "licenses": {"labels/reproject": {"code": "Apache-2.0", "weights": "none"}},
    "consent": "Ada agreed.", "files": {"avatar.safetensors": "cd" * 32},
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: no key is in it yet."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AVATARKIT_CACHE", str(folder))
    keys._for_this_run.cache_clear()
    return folder


def content(suffix: str) -> bytes:
    """A small file of a kind."""
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    stream = io.BytesIO()
    if suffix in (".png", ".jpg", ".webp", ".gif"):
        Image.fromarray(pixels).save(stream, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()))
    elif suffix == ".zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.txt", "hello")
    elif suffix == ".svg":
        stream.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>')
    elif suffix == ".html":
        stream.write(b"<!doctype html><title>ada</title><p>synthetic")
    else:
        stream.write(b"glTF" + bytes(range(256)) * 4)
    return stream.getvalue()


def film(path: Path, count: int = 6) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with VideoWriter(path, 64, 48, fps=10) as video:
        for k in range(count):
            video.write(np.roll(pixels, 4 * k, 1))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write ``ada`` with a suffix, as commands write what leaves the program."""

    def made(suffix: str, manifest: dict[str, Any] = MANIFEST, **policy: str) -> Path:
        registry = Registry.load(environ={"AVATARKIT_PLUGINS": "provenance"})
        registry.policy.update(policy)
        path = tmp_path / f"ada{suffix}"
        with registry.output(path, manifest):
            if suffix in (".mp4", ".mov", ".webm", ""):
                film(path)
            else:
                write_bytes(path, content(suffix))
        return path

    return made


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Of the avatar that ``make`` shows."""
    return MANIFEST


@pytest.fixture
def plain() -> Callable[[str], bytes]:
    """The bytes that ``make`` writes, before they are signed."""
    return content


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, with this plugin alone."""
    monkeypatch.setenv("AVATARKIT_PLUGINS", "provenance")
    if not any(command.name == "verify" for command in app.registered_commands):
        add_commands(Registry.load(), app)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])
