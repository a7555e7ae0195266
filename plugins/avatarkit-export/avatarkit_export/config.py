"""Options of the exporters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatarkit.errors import ConfigError

__all__ = ["GlbConfig", "VrmConfig", "WebConfig"]


@dataclass(frozen=True)
class VrmConfig:
    """Options of ``vrm``."""

    texture: int = 1024
    """Texels along each side of the texture."""
    influences: Literal[4, 8] = 4
    """Joints that may move a vertex; some programs read four only."""

    def __post_init__(self) -> None:
        if not 64 <= self.texture <= 8192:
            raise ConfigError(f"texture is {self.texture}; it must be between 64 and 8192.")


@dataclass(frozen=True)
class GlbConfig(VrmConfig):
    """Options of ``glb``."""

    influences: Literal[4, 8] = 8
    """Joints that may move a vertex; some programs read four only."""
    splats: bool = False
    """Write the Gaussians of the pose (KHR_gaussian_splatting) instead of the mesh, its skin and the clip."""
    motion: str = "talk"
    """The motion that becomes the animation clip: the first built-in one whose name starts so; "none" for no clip."""


@dataclass(frozen=True)
class WebConfig:
    """Options of ``web``."""

    motions: str | tuple[str, ...] = "all"
    """Motions to offer, built-in ones and files, separated by commas or as a list, whose names may hold commas; "all" for all
    built-in ones, "none"."""
    fps: float = 15.0
    """Poses per second that are stored of a motion; the page moves smoothly between them."""
    autoplay: bool = True
    """Play the first motion when the page opens."""
    controls: bool = False
    """Show all sliders when the page opens."""

    def __post_init__(self) -> None:
        if not 1 <= self.fps <= 120:
            raise ConfigError(f"fps is {self.fps}; it must be between 1 and 120.")
