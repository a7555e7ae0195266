"""Partial results of one clip on disk, from which an interrupted run continues."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from avatarkit.errors import StoreError
from avatarkit.storage.stage_cache import load_tensors, save_tensors
from avatarkit.utils.leftovers import is_temporary

__all__ = ["Progress", "Scratch"]

log = logging.getLogger("avatarkit.mimicmotion")

_NAMES = re.compile(r"(latents|frames_\d{6})\.(safetensors|tmp)")


@dataclass(frozen=True)
class Progress:
    """Sampling between two windows.

    Attributes:
        latents: (1, N, 4, h, w) at the beginning of ``step``.
        sums: (branches, 1, N, 4, h, w) weighted predictions of the windows before ``window``.
        step: being worked on.
        window: next one.
    """

    latents: torch.Tensor
    sums: torch.Tensor
    step: int
    window: int

    @staticmethod
    def start(latents: torch.Tensor, branches: int) -> Progress:
        """Return the progress of a new clip."""
        return Progress(latents, latents.new_zeros(branches, *latents.shape), 0, 0)


class Scratch:
    """A folder that belongs to one clip: its name holds a digest of all that the clip depends on."""

    def __init__(self, folder: Path, every_seconds: float = 20.0) -> None:
        self.folder = folder
        self.every_seconds = every_seconds
        self._saved = time.monotonic()

    def save(self, progress: Progress, force: bool = False) -> None:
        """Write atomically, but not more often than ``every_seconds``."""
        if not force and time.monotonic() - self._saved < self.every_seconds:
            return
        position = torch.tensor([progress.step, progress.window])
        self._write("latents", {"latents": progress.latents, "sums": progress.sums, "position": position})
        self._saved = time.monotonic()

    def load(self, like: torch.Tensor) -> Progress | None:
        """Return the saved tensor, on the device of ``like``; None if none of this shape exists."""
        found = self._read("latents", ("latents", "sums", "position"))
        if found is None or found["latents"].shape != like.shape:
            return None
        step, window = (int(x) for x in found["position"])
        return Progress(found["latents"].to(like.device), found["sums"].to(like.device), step, window)

    def save_frames(self, first: int, frames: torch.Tensor) -> None:
        """Keep decoded frames (n, H, W, 3) uint8 that begin with number ``first``."""
        self._write(f"frames_{first:06d}", {"frames": frames})

    def load_frames(self, first: int) -> torch.Tensor | None:
        """Return the decoded frames that begin with number ``first``."""
        found = self._read(f"frames_{first:06d}", ("frames",))
        return None if found is None else found["frames"]

    def remove(self) -> None:
        """Forget everything."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if _NAMES.fullmatch(path.name) or is_temporary(path.name):
                    path.unlink()
            self.folder.rmdir()

    def _write(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        try:
            save_tensors(self.folder / f"{name}.safetensors", tensors)
        except (StoreError, SafetensorError) as error:  # a full disk costs the chance to resume, not the clip
            log.warning("work in progress could not be saved in %s: %s", self.folder, error)

    def _read(self, name: str, keys: tuple[str, ...]) -> dict[str, torch.Tensor] | None:
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        try:
            tensors = load_tensors(path)
        except StoreError as error:
            log.warning("work in progress in %s cannot be read and is done again: %s", path, error)
            return None
        return tensors if set(keys) <= set(tensors) else None
