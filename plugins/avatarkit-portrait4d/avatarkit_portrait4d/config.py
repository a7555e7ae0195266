"""Options of the generator. Light to import."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Machine, Range

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
    fps: Annotated[float, Range(1, 240)] = 15.0
    """Frames per second that are generated from a motion; frames between are skipped."""
    chunk: Annotated[int, Range(1, 100_000)] = 200
    """Frames that one run of the child process makes."""
    startup_seconds: Annotated[float, Range(1, 1e6)] = 900.0
    """How long the child process may take before its first frame: it compiles CUDA code when it runs first."""
    frame_seconds: Annotated[float, Range(1, 1e6)] = 60.0
    """How long it may take for each further frame."""
    gpu: Annotated[str, Machine] = ""
    """Number of the GPU for the child process; empty = as the environment says."""
    keep_job: Annotated[bool, Machine] = False
    """Keep the folder of files that were exchanged; it is kept anyway where something went wrong."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Trust in the frames, 0 to 1, written into the clip."""

    def __post_init__(self) -> None:
        if self.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")

    def preflight(self) -> list[str]:
        """What is missing before a build may start, a sentence for each."""
        from avatarkit_portrait4d.checkout import problems

        return problems(self)
