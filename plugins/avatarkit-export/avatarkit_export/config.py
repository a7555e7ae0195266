"""Options of the exporters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Range

__all__ = ["GlbConfig", "PlyConfig", "VrmConfig", "WebConfig"]


@dataclass(frozen=True)
class PlyConfig:
    """Options of ``ply``."""

    sh_degree: Literal[0, 1, 2, 3] = 3
    """Degree of the spherical harmonics in the file; higher ones of the avatar are left out. Where colors are the same from all
    sides, all but the first are zero. Programs after INRIA's want degree 3, and 0 makes the file a quarter as large.
    """


@dataclass(frozen=True)
class VrmConfig:
    """Options of ``vrm``."""

    texture: Annotated[int, Range(64, 8192)] = 1024
    """Texels along each side of the texture."""
    influences: Literal[4, 8] = 4
    """Most joints that move a vertex; some programs read only four."""


@dataclass(frozen=True)
class GlbConfig(VrmConfig):
    """Options of ``glb``."""

    influences: Literal[4, 8] = 8
    """Most joints that move a vertex; some programs read only four."""
    splats: bool = False
    """Write the Gaussians of the pose (KHR_gaussian_splatting) instead of the mesh, its skin and the clip."""
    bones: Literal["own", "mixamo"] = "own"
    """Names, tree and axes of the bones: the body model's, or Mixamo's below "Armature", as players of talking heads expect."""
    motion: str = "talk"
    """Motion of the animation clip: the first built-in one whose name starts with this; "none" = no clip."""


@dataclass(frozen=True)
class WebConfig:
    """Options of ``web``."""

    motions: str | tuple[str, ...] = "all"
    """Motions of the page: built-in ones and files, separated by commas or as a list (for names with commas); "all" for all
    built-in ones, "none".
    """
    fps: Annotated[float, Range(1, 120)] = 15.0
    """Poses per second that are stored of a motion; the page interpolates between them."""
    autoplay: bool = True
    """Play the first motion when the page opens."""
    controls: bool = False
    """Show all sliders when the page opens."""
