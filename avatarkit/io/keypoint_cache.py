"""Landmarks of a long video on disk: no memory for them, and a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from avatarkit.types.keypoints import Keypoints
from avatarkit.utils.files import disk_errors
from avatarkit.utils.sequences import LazySequence

__all__ = ["CHUNK", "KeypointFiles"]

CHUNK = 240  # frames of one file; the detector starts anew with each, so that a resumed run gives the same bits
_KEY = "key.json"


class KeypointFiles(LazySequence[Keypoints | None]):
    """Frames of one video in files of ``CHUNK`` frames; frames in which nobody was seen are None.

    Args:
        folder: of the files. key: identifies video, detector and options; files with another key are removed.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._lengths: list[int] = []
        self._held: tuple[int, list[Keypoints | None]] = (-1, [])
        with disk_errors(folder):
            if _read_key(folder) != key:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                (folder / _KEY).write_text(json.dumps(key))
        while self._path(len(self._lengths)).exists():
            with np.load(self._path(len(self._lengths)), allow_pickle=False) as file:
                self._lengths.append(int(file["frames"]))

    def fill(
        self,
        images: Iterable[np.ndarray],
        detect: Callable[[Iterable[np.ndarray]], Iterator[Keypoints | None]],
    ) -> None:
        """Looks at the frames that are not there yet; ``images`` are all frames of the video, in order."""
        left = iter(images)
        for length in self._lengths:
            if sum(1 for _ in islice(left, length)) < length or length < CHUNK:
                return
        while found := list(detect(islice(left, CHUNK))):
            path = self._path(len(self._lengths))
            with disk_errors(path):
                part = path.with_suffix(".part.npz")
                np.savez(part, **_packed(found))
                os.replace(part, path)
            self._lengths.append(len(found))
            if len(found) < CHUNK:
                return

    def __len__(self) -> int:
        return sum(self._lengths)

    def at(self, index: int) -> Keypoints | None:
        """The landmarks of frame ``index``."""
        number = index // CHUNK
        if self._held[0] != number:
            with np.load(self._path(number), allow_pickle=False) as file:
                self._held = number, _unpacked(file)
        return self._held[1][index % CHUNK]

    def remove(self) -> None:
        """Deletes the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def _read_key(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _KEY).read_text()))
    except (OSError, ValueError):
        return None


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
