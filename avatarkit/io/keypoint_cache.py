"""Landmarks of a long video on disk, so that they take no memory and a stopped run continues."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from avatarkit.errors import StoreError
from avatarkit.storage.serialization import load_keypoints, save_keypoints
from avatarkit.types.keypoints import Keypoints
from avatarkit.utils.files import disk_errors, inside, write_text
from avatarkit.utils.leftovers import is_temporary
from avatarkit.utils.sequences import LazySequence

__all__ = ["CHUNK", "KeypointFiles"]

log = logging.getLogger("avatarkit.tracking")

CHUNK = 240  # frames of one file; the detector starts anew with each, so that a resumed run gives the same bits
_KEY = "key.json"
_FORMAT = "avatarkit-landmarks"
_CHUNKS = re.compile(r"\d{5}(\.safetensors|(\.part)?\.npz)")  # the latter of earlier versions


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
                self._lengths.append(len(load_keypoints(path)))
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
            save_keypoints(found, self._path(len(self._lengths)))
            self._lengths.append(len(found))
            if len(found) < CHUNK:
                return

    def __len__(self) -> int:
        return sum(self._lengths)

    def at(self, index: int) -> Keypoints | None:
        """Return the landmarks of frame ``index``."""
        number = index // CHUNK
        if self._held[0] != number:
            self._held = number, load_keypoints(self._path(number))
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

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"


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

