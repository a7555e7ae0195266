"""Tables of a recipe that are not slots: training, labels, preview. Fast to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Range

__all__ = ["SECTIONS", "LabelsConfig", "PreviewConfig", "TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """Options of the optimization, in the table ``[training]``."""

    steps: Annotated[int, Range(0, 10_000_000)] = 600
    """Optimization steps; 0 keeps the avatar as initialized."""
    views: Annotated[int, Range(1, 64)] = 1
    """Views per step; they are looked at in parallel, and the shares below hold within each step as far as they divide."""
    resolution: Annotated[int, Range(16, 4096)] = 512
    """Longest side of the photo during training, in pixels."""
    photo_share: Annotated[float, Range(0, 1)] = 0.5
    """Share of the steps that use the photo; the label clips share the rest."""
    head_share: Annotated[float, Range(0, 1)] = 0.34
    """Share of the label steps that use head clips."""
    detail_share: Annotated[float, Range(0, 1)] = 0.4
    """Share of the photo steps that use the face or a hand at the photo's full resolution."""
    confidence: bool = True
    """Sample label frames and weight their pixels by confidence."""
    lr_end: Annotated[float, Range(0, 1)] = 0.1
    """Final learning rate as a fraction of the first."""
    schedule: Literal["cosine", "linear", "exponential", "constant"] = "cosine"
    """How the learning rate falls to ``lr_end``; ``constant`` keeps the first."""
    warmup: Annotated[int, Range(0, 1_000_000, "steps")] = 0
    """Steps in which the learning rate rises from zero."""
    adam_eps: Annotated[float, Range(0, 1)] = 1e-7
    """Epsilon in Adam's denominator. With a tiny value (3DGS: 1e-15), noise moves Gaussians that are hardly visible as fast as
    all others: the gradient of a visible color is about 1e-6.
    """
    color_solves: Annotated[int, Range(0, 1000)] = 0
    """Number of times that colors are solved for the photo by least squares, evenly spread, the last time after the last step."""
    color_iterations: Annotated[int, Range(1, 1000)] = 10
    """Iterations of conjugate gradients of each."""
    checkpoint_every: Annotated[int, Range(1, 1_000_000)] = 100
    """Steps between checkpoints, from which an interrupted build continues."""
    evaluate_every: Annotated[int, Range(1, 1_000_000, "steps")] = 100
    """Steps between evaluations on the photo, for training callbacks."""


@dataclass(frozen=True)
class LabelsConfig:
    """Number of pseudo-label clips and how they are processed, in the table ``[labels]``."""

    body_clips: Annotated[int, Range(0, 10_000)] = 4
    """Clips of the whole body in other poses."""
    head_clips: Annotated[int, Range(0, 10_000)] = 3
    """Clips of the head with other expressions."""
    retrack: bool = True
    """Re-track the frames of generators that do not follow the requested pose exactly (paper, section 3.2)."""
    calibrate: bool = True
    """Match the colors of such frames to the photo, with one linear fit per channel and clip."""


@dataclass(frozen=True)
class PreviewConfig:
    """Size and content of the preview, in the table ``[preview]``."""

    height: Annotated[int, Range(16, 2160)] = 384
    """Height of the pictures and the video, in pixels."""
    seconds: Annotated[float, Range(0.1, 600)] = 4.0
    """Length of the video."""
    fps: Annotated[int, Range(1, 120)] = 15
    """Frames per second of the video."""
    motion: str = "talk"
    """Built-in motion that the video plays while the camera turns."""


SECTIONS: dict[str, type] = {"training": TrainingConfig, "labels": LabelsConfig, "preview": PreviewConfig}
"""Table of a recipe -> its config class."""
