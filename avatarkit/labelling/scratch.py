"""Partial results of one clip on disk, from which a run that was stopped continues."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from avatarkit.errors import StoreError
from avatarkit.interfaces import Context
from avatarkit.storage.stage_cache import load_tensors, save_tensors
from avatarkit.utils.leftovers import is_temporary

__all__ = ["Scratch", "generate_in_tiles", "scratch_folder", "tile_seed", "tiles"]

log = logging.getLogger("avatarkit.labelling")

_NAMES = re.compile(r"[a-z]+(_\d{6})?\.(safetensors|tmp)")


def scratch_folder(context: Context, owner: str) -> Path:
    """Return the folder of a component's unfinished work: inside the avatar that is built, else in the user's cache folder.

    Args:
        context: of the component.
        owner: name of the component.
    """
    return (context.cache / "scratch" if context.scratch is None else context.scratch) / owner


class Scratch:
    """A folder of named tensors that belongs to one clip.

    Args:
        folder: its name holds a digest of everything that the clip depends on, see ``for_clip``.
        every_seconds: time between two savings of the same kind, unless forced.
    """

    def __init__(self, folder: Path, every_seconds: float = 20.0) -> None:
        self.folder, self.every_seconds = folder, every_seconds
        self._saved = time.monotonic()

    @classmethod
    def for_clip(cls, context: Context, owner: str, *inputs: Any, every_seconds: float = 20.0) -> Scratch:
        """Return the scratch folder of exactly one clip.

        Args:
            context: of the component.
            owner: name of the component.
            inputs: everything that the clip depends on: tensors and arrays, paths of weights (their size and time count), and
                values with a complete ``repr``.
            every_seconds: see ``Scratch``.
        """
        digest = hashlib.sha256(context.device.type.encode())
        for value in inputs:
            if isinstance(value, torch.Tensor):
                value = value.detach().cpu().numpy()
            if isinstance(value, Path):
                facts = value.stat()
                value = (str(value), facts.st_size, facts.st_mtime_ns)
            array = isinstance(value, np.ndarray)
            digest.update(repr((value.dtype, value.shape)).encode() + value.tobytes() if array else repr(value).encode())
            digest.update(b"\0")
        return cls(scratch_folder(context, owner) / digest.hexdigest()[:32], every_seconds)

    def due(self) -> bool:
        """Return whether the last saving is ``every_seconds`` ago."""
        return time.monotonic() - self._saved >= self.every_seconds

    def save(self, name: str, **tensors: torch.Tensor) -> None:
        """Write named tensors atomically; a full disk costs the chance to resume, not the clip."""
        try:
            save_tensors(self._path(name), tensors)
        except (StoreError, SafetensorError) as error:
            log.warning("work in progress could not be saved in %s: %s", self.folder, error)
        self._saved = time.monotonic()

    def load(self, name: str, *keys: str) -> dict[str, torch.Tensor] | None:
        """Return what was saved under a name; None if it is missing, damaged or lacks a key."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            tensors = load_tensors(path)
        except StoreError as error:
            log.warning("work in progress in %s cannot be read and is done again: %s", path, error)
            return None
        return tensors if set(keys) <= set(tensors) else None

    def remove(self) -> None:
        """Remove the folder once the clip is finished."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if _NAMES.fullmatch(path.name) or is_temporary(path.name):
                    path.unlink()
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def tiles(count: int, size: int, overlap: int = 0) -> list[range]:
    """Return windows of ``size`` frames that cover ``count`` frames; neighbors share ``overlap``, the last two perhaps more."""
    if not 0 <= overlap < size:
        raise ValueError(f"a tile of {size} frames cannot share {overlap} with the next one")
    starts = range(0, max(count - overlap, 1), size - overlap)
    return [range(max(0, min(start, count - size)), min(start + size, count)) for start in starts]


def tile_seed(seed: int, number: int) -> int:
    """Return the seed of a tile: different for each, and independent of how many there are."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:6], "big")


def generate_in_tiles(
    make: Callable[[range, int, torch.Tensor | None], torch.Tensor],
    count: int,
    size: int,
    overlap: int = 0,
    *,
    seed: int,
    scratch: Scratch | None = None,
    report: Callable[[str, float], None] = lambda message, fraction: None,
) -> torch.Tensor:
    """Generate a clip tile by tile; a run that was stopped continues after its last tile.

    Frames that two tiles share are blended from the one into the other.

    Args:
        make: called with the frame numbers of a tile, its own seed, and the frames of the previous tile that it shares (None for
            the first); returns the tile, (n, H, W, 3) uint8.
        count: frames of the clip.
        size: frames of a tile.
        overlap: frames that neighbors share.
        seed: of the clip.
        scratch: where finished tiles are kept; None = nowhere.
        report: receives progress.

    Returns:
        (count, H, W, 3) uint8.
    """
    clip: torch.Tensor | None = None
    windows = tiles(count, size, overlap)
    for number, window in enumerate(windows):
        report("generating frames", number / len(windows))
        shared = None if clip is None else clip[window.start :]
        kept = scratch.load(f"tile_{number:06d}", "frames") if scratch else None
        tile = make(window, tile_seed(seed, number), shared) if kept is None else kept["frames"]
        if scratch and kept is None:
            scratch.save(f"tile_{number:06d}", frames=tile)
        if clip is None or shared is None or len(shared) == 0:
            clip = tile if clip is None else torch.cat([clip, tile])
            continue
        share = ((torch.arange(len(shared)) + 1) / (len(shared) + 1))[:, None, None, None]
        blended = (shared * (1 - share) + tile[: len(shared)] * share).round().to(torch.uint8)
        clip = torch.cat([clip[: window.start], blended, tile[len(shared) :]])
    assert clip is not None
    return clip
