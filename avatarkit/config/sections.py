"""Tables of a recipe that are not slots: how many labels, how to train, what to show. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Range

__all__ = ["SECTIONS", "LabelsConfig", "PreviewConfig", "TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """Options of the loop."""

    steps: Annotated[int, Range(0, 10_000_000)] = 600
    """Optimisation steps; 0 keeps the avatar as it was initialised."""
    resolution: Annotated[int, Range(16, 4096)] = 512
    """Longest side of the photo while training, in pixels."""
    photo_share: Annotated[float, Range(0, 1)] = 0.5
    """Part of the steps that look at the photo; the rest is shared by the label clips."""
    head_share: Annotated[float, Range(0, 1)] = 0.34
    """Part of the label steps that look at head clips."""
    detail_share: Annotated[float, Range(0, 1)] = 0.4
    """Part of the photo steps that look at the face or a hand at the photo's full resolution."""
    confidence: bool = True
    """Labels count as far as they may be trusted: frames are drawn, and pixels weighed, by confidence."""
    lr_end: Annotated[float, Range(0, 1)] = 0.1
    """The step sizes fall to this part of themselves along half a cosine."""
    adam_eps: Annotated[float, Range(0, 1)] = 1e-7
    """Added to Adam's denominator. With almost none (3DGS: 1e-15) Gaussians that are hardly seen move as fast as all others, on
    nothing but noise: the gradient of a colour that is seen is about 1e-6."""
    checkpoint_every: Annotated[int, Range(1, 1_000_000)] = 100
    """Steps between checkpoints, from which a killed build goes on."""


@dataclass(frozen=True)
class LabelsConfig:
    """How many clips of pseudo-labels to make, in the table ``[labels]``."""

    body_clips: Annotated[int, Range(0, 10_000)] = 4
    """Clips of the whole body in other poses."""
    head_clips: Annotated[int, Range(0, 10_000)] = 3
    """Clips of the head with other expressions."""
    retrack: bool = True
    """Track the frames of generators that do not keep exactly to the requested pose (paper, section 3.2)."""
    calibrate: bool = True
    """Bring the colours of such frames to the photo's, by one line per channel and clip."""


@dataclass(frozen=True)
class PreviewConfig:
    """The table ``[preview]`` of a recipe."""

    height: Annotated[int, Range(16, 2160)] = 384
    """Of the pictures and the film, in pixels."""
    seconds: Annotated[float, Range(0.1, 600)] = 4.0
    """Length of the film."""
    fps: Annotated[int, Range(1, 120)] = 15
    """Frames per second of the film."""
    motion: str = "talk"
    """Built-in motion that the film plays while the camera turns."""


SECTIONS: dict[str, type] = {"training": TrainingConfig, "labels": LabelsConfig, "preview": PreviewConfig}
"""Table of a recipe -> its config class."""
