"""Landmarks of a long video on disk, so that they take no memory and a stopped run continues."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np

from avatarkit.errors import StoreError
from avatarkit.types.keypoints import Keypoints
from avatarkit.utils.files import disk_errors, inside, write_bytes, write_text
from avatarkit.utils.leftovers import is_temporary
from avatarkit.utils.sequences import LazySequence

__all__ = ["CHUNK", "KeypointFiles"]

log = logging.getLogger("avatarkit.tracking")

CHUNK = 240  # frames of one file; the detector starts anew with each, so that a resumed run gives the same bits
_KEY = "key.json"
_FORMAT = "avatarkit-landmarks"
_CHUNKS = re.compile(r"\d{5}(\.part)?\.npz")
_DAMAGE = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, LookupError, TypeError, RuntimeError, MemoryError, SyntaxError,
)  # fmt: skip


class KeypointFiles(LazySequence[Keypoints | None]):
    """Frames of one video in files of ``CHUNK`` frames; frames without a person are None.

    A damaged file is made again, with those after it.

    Args:
        folder: of the files; only files of ours in it are ever removed.
        key: identifies video, detector and options; files with another key are removed.

    Raises:
        StoreError: the disk is full, the folder cannot be written, or it is the user's.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._lengths: list[int] = []
        self._held: tuple[int, list[Keypoints | None]] = (-1, [])
        with disk_errors(folder):
            found = _read_key(folder)
            if found is None and folder.exists() and not _is_empty(folder):
                raise StoreError(f"{folder} exists and was not made by avatarkit: move it away, or choose another name with -o.")
            if found != key:
                if found is not None:
                    self.remove()
                folder.mkdir(parents=True, exist_ok=True)
                write_text(folder / _KEY, json.dumps({"format": _FORMAT, "key": key}))
        while os.path.lexists(self._path(len(self._lengths))):
            path = self._path(len(self._lengths))
            if not inside(folder, path.name):
                raise StoreError(f"{path} is no file, or a link to another place: move it away.")
            try:
                self._lengths.append(len(self._read(len(self._lengths))))
            except StoreError as error:
                log.warning("%s It is made again.", error)
                return

    def fill(
        self,
        images: Iterable[np.ndarray],
        detect: Callable[[Iterable[np.ndarray]], Iterator[Keypoints | None]],
    ) -> None:
        """Detect landmarks in the frames that are not there yet; ``images`` are all frames of the video, in order."""
        left = iter(images)
        for length in self._lengths:
            if sum(1 for _ in islice(left, length)) < length or length < CHUNK:
                return
        while found := list(detect(islice(left, CHUNK))):
            path = self._path(len(self._lengths))
            stream = BytesIO()
            np.savez(stream, **_packed(found))
            write_bytes(path, stream.getvalue())
            self._lengths.append(len(found))
            if len(found) < CHUNK:
                return

    def __len__(self) -> int:
        return sum(self._lengths)

    def at(self, index: int) -> Keypoints | None:
        """Return the landmarks of frame ``index``."""
        number = index // CHUNK
        if self._held[0] != number:
            self._held = number, self._read(number)
        return self._held[1][index % CHUNK]

    def remove(self) -> None:
        """Delete the files, and the folder where nothing else is in it."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if _CHUNKS.fullmatch(path.name) or is_temporary(path.name):
                    path.unlink()
            if _read_key(self.folder) is not None:
                (self.folder / _KEY).unlink()  # last: without it the folder is not known as ours
            self.folder.rmdir()

    def _read(self, number: int) -> list[Keypoints | None]:
        """Return the frames of one file.

        Raises:
            StoreError: it is damaged.
        """
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return _unpacked(file)
        except _DAMAGE as error:
            raise StoreError(f"{path} is damaged ({type(error).__name__}).") from error

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def _is_empty(folder: Path) -> bool:
    """Return whether there is nothing but what a killed run left."""
    return folder.is_dir() and all(is_temporary(path.name) for path in folder.iterdir())


def _read_key(folder: Path) -> str | None:
    """Of a folder of ours, also one of a version without a format mark; None if it is none."""
    if folder.is_symlink() or not inside(folder, _KEY):  # it may be a pipe, or another program's folder
        return None
    try:
        found = json.loads((folder / _KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(found, dict) and found.get("format") == _FORMAT:
        return str(found.get("key"))
    return found if isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) else None


def _packed(frames: list[Keypoints | None]) -> dict[str, np.ndarray]:
    """Arrays per set of landmarks, with the numbers of the frames that have it."""
    seen = [(number, k) for number, k in enumerate(frames) if k is not None]
    out: dict[str, np.ndarray] = {
        "frames": np.array(len(frames)),
        "seen": np.array([number for number, _ in seen], np.int64),
        "facts": np.array([(k.width, k.height, *k.box, k.person_count) for _, k in seen], np.float64).reshape(-1, 7),
    }
    for kind in ("points", "scores", "points_3d"):
        for name in sorted({name for _, k in seen for name in getattr(k, kind)}):
            having = [(number, getattr(k, kind)[name]) for number, k in seen if name in getattr(k, kind)]
            out[f"{kind}/{name}/at"] = np.array([number for number, _ in having], np.int64)
            out[f"{kind}/{name}/values"] = np.stack([values for _, values in having])
    return out


def _unpacked(file: np.lib.npyio.NpzFile) -> list[Keypoints | None]:
    sets: dict[int, dict[str, dict[str, np.ndarray]]] = {
        int(k): {"points": {}, "scores": {}, "points_3d": {}} for k in file["seen"]
    }
    for entry in file.files:
        if entry.endswith("/values"):
            kind, name, _ = entry.split("/")
            for number, values in zip(file[f"{kind}/{name}/at"], file[entry], strict=True):
                sets[int(number)][kind][name] = values
    out: list[Keypoints | None] = [None] * int(file["frames"])
    for number, facts in zip(file["seen"], file["facts"], strict=True):
        width, height, x0, y0, x1, y1, count = facts.tolist()
        out[int(number)] = Keypoints(int(width), int(height), **sets[int(number)], box=(x0, y0, x1, y1), person_count=int(count))
    return out
