"""Options of the motion sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine, Range
from avatarkit.errors import ConfigError

__all__ = ["BuiltinConfig", "FolderConfig", "TedConfig"]

_Angle = Annotated[float, Range(-180, 180)]


@dataclass(frozen=True)
class BuiltinConfig:
    """Options of ``builtin``."""

    fps: Annotated[float, Range(5, 240)] = 30.0
    """Frames per second."""
    liveliness: Annotated[float, Range(0, 1.5)] = 1.0
    """Scale of gestures, head movements and sway; 0 = none, 1 = natural."""
    label_pitch: tuple[_Angle, _Angle] = (-10.0, 10.0)
    """Range in degrees of the whole body's pitch per label segment (the paper's section 3.2: -30 to 30)."""
    label_yaw: tuple[_Angle, _Angle] = (-25.0, 25.0)
    """Range in degrees of the whole body's yaw per label segment (the paper's section 3.2: -10 to 10)."""
    label_seconds: Annotated[float, Range(0.5, 60)] = 4.0
    """Longest label segment in seconds; longer motions are cut at a random place."""

    def __post_init__(self) -> None:
        for name in ("label_pitch", "label_yaw"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"motions.{name} is ({low}, {high}); it must be two ascending angles in degrees.")


@dataclass(frozen=True)
class FolderConfig(BuiltinConfig):
    """Options of ``folder``: those of ``builtin``, which it includes, and more."""

    path: Annotated[str, Machine] = ""
    """Folder of motion files (.bvh .glb .gltf .npz .pose .vrma), including its subfolders."""
    label_pitch: tuple[_Angle, _Angle] = (-30.0, 30.0)
    """Range in degrees of the whole body's pitch per label segment (the paper's section 3.2)."""
    label_yaw: tuple[_Angle, _Angle] = (-10.0, 10.0)
    """Range in degrees of the whole body's yaw per label segment (the paper's section 3.2)."""


@dataclass(frozen=True)
class TedConfig(FolderConfig):
    """Options of ``ted``: those of ``builtin``, which it includes, and more."""

    path: Annotated[str, Machine] = ""
    """Folder of the clip files (.json) that the scripts of the TED Gesture Dataset write."""
    video_fps: Annotated[float, Range(1, 240)] = 25.0
    """Frames per second of the dataset's videos, which its files do not state."""
