"""Options of the motion sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine
from avatarkit.errors import ConfigError

__all__ = ["BuiltinConfig", "FolderConfig", "SpeechConfig", "TedConfig"]


@dataclass(frozen=True)
class BuiltinConfig:
    """Options of ``builtin``."""

    fps: float = 30.0
    """Frames per second."""
    liveliness: float = 1.0
    """Scales gestures, head movements and sway; 0 is a talking statue, 1 natural."""
    label_pitch: tuple[float, float] = (-10.0, 10.0)
    """Degrees, range of the whole body's pitch per label segment (the paper's section 3.2: -30 to 30)."""
    label_yaw: tuple[float, float] = (-25.0, 25.0)
    """Degrees, range of the whole body's yaw per label segment (the paper's section 3.2: -10 to 10)."""
    label_seconds: float = 4.0
    """Longest label segment; longer motions are cut at a random place."""

    def __post_init__(self) -> None:
        if not 5 <= self.fps <= 240:
            raise ConfigError(f"motions.fps is {self.fps}; it must be between 5 and 240.")
        if not 0 <= self.liveliness <= 1.5:
            raise ConfigError(f"motions.liveliness is {self.liveliness}; it must be between 0 and 1.5.")
        if not 0.5 <= self.label_seconds <= 60:
            raise ConfigError(f"motions.label_seconds is {self.label_seconds}; it must be between 0.5 and 60.")
        for name in ("label_pitch", "label_yaw"):
            low, high = getattr(self, name)
            if not -180 <= low <= high <= 180:
                raise ConfigError(f"motions.{name} is ({low}, {high}); it must be two ascending angles in degrees.")


@dataclass(frozen=True)
class FolderConfig(BuiltinConfig):
    """Options of ``folder``: those of ``builtin``, which it holds too, and more."""

    path: Annotated[str, Machine] = ""
    """Folder of motion files (.bvh .npz .pose); the folders in it count too."""
    label_pitch: tuple[float, float] = (-30.0, 30.0)
    """Degrees, range of the whole body's pitch per label segment (the paper's section 3.2)."""
    label_yaw: tuple[float, float] = (-10.0, 10.0)
    """Degrees, range of the whole body's yaw per label segment (the paper's section 3.2)."""


@dataclass(frozen=True)
class TedConfig(FolderConfig):
    """Options of ``ted``: those of ``builtin``, which it holds too, and more."""

    path: Annotated[str, Machine] = ""
    """Folder of the clip files (.json) that the scripts of the TED Gesture Dataset write."""
    video_fps: float = 25.0
    """Frames per second of the dataset's videos, which its files do not tell."""


@dataclass(frozen=True)
class SpeechConfig(BuiltinConfig):
    """Options of ``speech``: those of ``builtin``, and more."""

    text: str = ""
    """What is said in the recording, in English; sharpens the mouth's shapes. Empty = hear what can be heard."""
