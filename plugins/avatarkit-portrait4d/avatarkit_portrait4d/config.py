"""Options of the generator. Fast to import."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Machine, Range

__all__ = ["Portrait4DConfig"]


@dataclass(frozen=True)
class Portrait4DConfig:
    """Options of Portrait4D-v2, which runs from your own checkout."""

    checkout: Path | None = None
    """Folder of the checkout, with all its files in place; none = the one added as ``portrait4d``."""
    python: Path | None = None
    """Python of the checkout's environment; none = ``.venv`` or ``venv`` in the checkout."""
    network: Annotated[str, Machine] = "pretrained_models/portrait4d-v2-vfhq512.pkl"
    """The checkpoint, relative to the folder ``portrait4d`` of the checkout or as a full path."""
    allow_pickle: Annotated[bool, Machine] = False
    """Allow the checkout's Python to load the checkpoint, a pickle, which can run code."""
    sha256: str = ""
    """Required sha256 of the checkpoint; empty = it is only recorded."""
    preparation: Literal["native", "official"] = "native"
    """``native`` computes crops, landmarks and numbers here; ``official`` runs the checkout's own code (needs more of its files).
    """
    fps: Annotated[float, Range(1, 240)] = 15.0
    """Frames per second to generate; other frames of the motion are skipped."""
    chunk: Annotated[int, Range(1, 100_000)] = 200
    """Frames that one run of the child process generates."""
    startup_seconds: Annotated[float, Range(1, 1e6)] = 900.0
    """Time limit for the child process until its first frame, in seconds; on its first run it compiles CUDA code."""
    frame_seconds: Annotated[float, Range(1, 1e6)] = 60.0
    """Time limit for each further frame, in seconds."""
    gpu: Annotated[str, Machine] = ""
    """Number of the GPU for the child process; empty = as set in the environment."""
    keep_job: Annotated[bool, Machine] = False
    """Keep the folder of exchanged files; it is always kept after an error."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Confidence of the frames, 0 to 1."""

    def __post_init__(self) -> None:
        if self.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")

    def preflight(self) -> list[str]:
        """Return one sentence for each missing requirement."""
        from avatarkit_portrait4d.checkout import problems

        return problems(self)
