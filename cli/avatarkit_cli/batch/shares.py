"""How many builds a machine takes at a time, and the share of each."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["local_shares", "minutes_of", "shares_of"]

_SHARES = {
    "instant": (2, 4, 30), "draft": (2, 5, 120), "standard": (4, 8, 480), "paper": (8, 48, 0), "open": (8, 48, 0)
}  # fmt: skip
"""Preset -> cores and GB of memory that a cluster gives a build, and minutes that it may take anywhere, 0 = any time.

An ``instant`` build took 1.3 GB; the others are estimates. The minutes are tens of times what a build takes on two cores, because
they are for builds that hang: a slow machine must not lose avatars by them. With ``paper`` and ``open``, it depends on the GPU.
"""
_USUAL = _SHARES["standard"]
_PART = 0.9  # of the memory is for workers


def shares_of(preset: str | None, device: str) -> dict[str, Any]:
    """Return cores, memory and GPUs of a build on a cluster, as fields of ``Job``."""
    cores, memory, _ = _SHARES.get(preset or "", _USUAL)
    gpu = device.startswith("cuda") or (device == "auto" and preset in ("paper", "open"))
    return {"cores": cores, "memory_mb": memory * 1000, "gpus": int(gpu)}


def minutes_of(recipe: str) -> float:
    """Return how long a build with a recipe of this name may take; 0 = any time, as with a recipe that is no preset."""
    return _SHARES[recipe][2] if recipe in _SHARES else 0


def local_shares(jobs: int | None, cores: int, preset: str | None, cuda: bool) -> tuple[int, dict[str, Any]]:
    """Return how many builds run here at a time, and the share of each, as fields of ``Job``.

    Args:
        jobs: as the user wants it; None = as many as cores and memory allow, and one if they share a GPU.
        cores: of this machine.
        preset: of the run.
        cuda: whether builds use the GPU.
    """
    memory = _PART * _memory_mb()
    if jobs is None:
        need = _SHARES.get(preset or "", _USUAL)[1] * 1000 / 2
        jobs = 1 if cuda else max(1, min(cores, int(memory / need)))
    return jobs, {"cores": max(1, cores // jobs), "memory_mb": int(memory / jobs), "gpus": 0}


def _memory_mb() -> float:
    """Return the memory that this process may use: that of the machine, or of its container."""
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if sys.platform != "win32" else [16 * 10**9]
    for path in limits:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int(path.read_text(encoding="ascii")))
    return min(found) / 1e6
