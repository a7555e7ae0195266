"""Options of the generator. Light to import."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Machine

__all__ = ["Portrait4DConfig"]


@dataclass(frozen=True)
class Portrait4DConfig:
    """Options of Portrait4D-v2; its code and files are the user's own, and stay where they are."""

    checkout: Path | None = None
    """Folder of the checkout, with all its files in place; none = the one added as ``portrait4d``."""
    python: Path | None = None
    """Python of the checkout's environment; none = ``.venv`` or ``venv`` in the checkout."""
    network: Annotated[str, Machine] = "pretrained_models/portrait4d-v2-vfhq512.pkl"
    """The checkpoint, within the folder ``portrait4d`` of the checkout or as a full path."""
    allow_pickle: Annotated[bool, Machine] = False
    """Say true to let the checkout's Python load the checkpoint: it is a pickle, and what it holds is run."""
    sha256: str = ""
    """What the checkpoint's sha256 has to be; empty = it is only recorded."""
    preparation: Literal["native", "official"] = "native"
    """``native`` makes crops, landmarks and numbers here; ``official`` runs the checkout's own (needs more of its files)."""
    fps: float = 15.0
    """Frames per second that are generated from a motion; frames between are skipped."""
    chunk: int = 200
    """Frames that one run of the child process makes."""
    startup_seconds: float = 900.0
    """How long the child process may take before its first frame: it compiles CUDA code when it runs first."""
    frame_seconds: float = 60.0
    """How long it may take for each further frame."""
    gpu: Annotated[str, Machine] = ""
    """Number of the GPU for the child process; empty = as the environment says."""
    keep_job: Annotated[bool, Machine] = False
    """Keep the folder of files that were exchanged; it is kept anyway where something went wrong."""
    confidence: float = 1.0
    """Trust in the frames, 0 to 1, written into the clip."""

    def __post_init__(self) -> None:
        checks = {
            "fps must be positive": self.fps > 0,
            "chunk must be at least 1": self.chunk >= 1,
            "startup_seconds and frame_seconds must be positive": min(self.startup_seconds, self.frame_seconds) > 0,
            "sha256 must be 64 hexadecimal digits": not self.sha256 or re.fullmatch("[0-9a-fA-F]{64}", self.sha256),
            "confidence must lie between 0 and 1": 0 <= self.confidence <= 1,
        }
        for sentence, fine in checks.items():
            if not fine:
                raise ValueError(sentence)

    def preflight(self) -> list[str]:
        """What is missing before a build may start, a sentence for each."""
        from avatarkit_portrait4d.checkout import problems

        return problems(self)
