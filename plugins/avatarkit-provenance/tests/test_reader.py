"""Our signatures, read by another implementation of C2PA: c2pa-ts, which shares no code with the library that signs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READER = Path(__file__).with_name("reader")
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None or not (READER / "node_modules").is_dir(), reason="needs node, and npm ci in tests/reader"
)


def read(*files: Path) -> list[dict[str, Any]]:
    assert NODE is not None
    run = subprocess.run([NODE, READER / "read.js", *files], capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_pictures_and_films_are_valid_and_synthetic_to_another_reader(make: Callable[..., Path]) -> None:
    for found in read(*(make(suffix) for suffix in (".png", ".jpg", ".mp4", ".mov"))):
        assert (found["signed"], found["valid"], found["codes"], found["maker"]) == (True, True, [], "avatarkit")
        assert found["source"] == ["http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"]
        assert {"org.avatarkit.avatar", "org.avatarkit.consent"} <= set(found["labels"])
        assert not [label for label in found["labels"] if "thumbnail" in label]


def test_another_reader_finds_what_was_altered_and_what_was_not_signed(make: Callable[..., Path]) -> None:
    video, plain = make(".mp4"), make(".png", sign="no")
    data = bytearray(video.read_bytes())
    data[-200] ^= 1
    video.write_bytes(data)
    changed, unsigned = read(video, plain)
    assert (changed["signed"], changed["valid"], changed["codes"]) == (True, False, ["assertion.bmffHash.mismatch"])
    assert unsigned == {"signed": False}
