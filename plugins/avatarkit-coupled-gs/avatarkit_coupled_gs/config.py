"""Options of the coupled avatar and of its regularizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Range

__all__ = ["CoupledConfig", "LaplacianConfig", "TexturedConfig"]


@dataclass(frozen=True)
class CoupledConfig:
    """Options of ``coupled-gs``."""

    resolution: Annotated[int, Range(16, 4096)] = 512
    """Side of the UV map whose covered texels become Gaussians (paper, section 3.4: 512, about 150,000)."""
    face_factor: Annotated[int, Range(1, 16)] = 1
    """The face takes its texels from a map so many times finer than the rest."""
    hand_factor: Annotated[int, Range(1, 16)] = 2
    """The same for the hands, whose charts are small in a whole-body atlas."""
    eye_factor: Annotated[int, Range(1, 16)] = 12
    """The same for eyes, tongue and teeth."""
    photo_factor: Annotated[int, Range(1, 16)] = 1
    """Surface inside the picture takes its texels from a map up to so many times finer, one for each pixel it would fill."""
    scale_factor: Annotated[float, Range(1e-3, 100)] = 0.6
    """First scale of a Gaussian over its mean distance to its neighbors; the paper leaves it unsaid."""
    inset: Annotated[float, Range(0, 10)] = 2.2
    """Standard deviations that Gaussians start below the surface, where outlines end; at most 2.5 mm in hands, none on heads."""
    anisotropic: bool = False
    """Gaussians are ellipsoids that turn with the surface, not the paper's spheres."""
    thickness: Annotated[float, Range(0.01, 10)] = 0.5
    """First scale of an ellipsoid along the normal, of its mean scale along the surface."""
    aspect_limit: Annotated[float, Range(1, 100)] = 4.0
    """Most that a scale of an ellipsoid differs from that mean, as a factor, so that no needle can grow."""
    sh_degree: Literal[0, 1, 2, 3] = 0
    """Degree of the spherical harmonics; above 0 colors depend on the direction of view, which one photo hardly shows."""
    max_offset: Annotated[float, Range(1e-5, 10)] = 3e-3
    """Meters along each axis by which dX may differ from dT; eq. 8 of the paper ties them, but sets no limit."""
    grow: bool = True
    """Seed Gaussians outside the surface where the matte shows hair or cloth that the mesh does not cover."""
    grow_layers: Annotated[int, Range(1, 100)] = 3
    """Layers of such seeds, so that they hold when seen from the side; those behind the first are half as dense."""
    grow_limit: Annotated[int, Range(0, 10_000_000)] = 40000
    """At most so many seeded Gaussians."""
    held: Literal["keep", "drop"] = "keep"
    """What a hand holds moves with it as one rigid body, or is left out."""
    lr_position: Annotated[float, Range(0, 10)] = 1e-4
    """Adam step size of both deformation fields, dX and dT, in meters (paper, section 3.4)."""
    lr_color: Annotated[float, Range(0, 10)] = 2.5e-3
    """Adam step size of the colors, as zeroth-order spherical harmonics (3DGS)."""
    label_color: Annotated[float, Range(0, 1000)] = 1.0
    """Share of their pull on colors that losses on labels keep; with 0 only the loss ``label-colors`` teaches them."""
    lr_scale: Annotated[float, Range(0, 10)] = 5e-3
    """Adam step size of the logarithm of the scales (3DGS)."""
    lr_rotation: Annotated[float, Range(0, 10)] = 1e-3
    """Adam step size of the quaternions of ellipsoids (3DGS)."""
    lr_opacity: Annotated[float, Range(0, 10)] = 5e-2
    """Adam step size of the logit of the opacity of Gaussians outside the surface (3DGS); those on it stay opaque."""
    min_scale: Annotated[float, Range(1e-7, 1)] = 3e-4
    """Meters; scales stay above."""
    max_scale: Annotated[float, Range(1e-7, 1)] = 2e-2
    """Meters; scales stay below, so that no spike can grow."""

    @property
    def features(self) -> tuple[str, ...]:
        """What a renderer must draw beyond spheres of one color, see ``Register``."""
        return ("anisotropic",) * self.anisotropic + ("sh",) * (self.sh_degree > 0)

    def __post_init__(self) -> None:
        if self.min_scale > self.max_scale:
            raise ValueError("min_scale must not be above max_scale")


@dataclass(frozen=True)
class TexturedConfig:
    """Options of ``textured-mesh``."""

    resolution: Annotated[int, Range(16, 8192)] = 1024
    """Texels along each side of the texture."""
    lr_texture: Annotated[float, Range(0, 10)] = 2.5e-3
    """Adam step size of the texture's colors."""


@dataclass(frozen=True)
class LaplacianConfig:
    """Relative weights inside L_lap; the paper leaves them unsaid, the ratio is ExAvatar's."""

    position: Annotated[float, Range(0, 1e9)] = 1e5
    """Of dX, in square meters."""
    delicate: Annotated[float, Range(0, 1e9)] = 10.0
    """dX of hands and around eyes is held so many times smoother: fitted fingers are not quite where the photo has them."""
    scale: Annotated[float, Range(0, 1e9)] = 1e-2
    """Of the logarithm of the scales."""
    color: Annotated[float, Range(0, 1e9)] = 1e-1
    """Of the colors."""
    unseen: Annotated[float, Range(0, 1e9)] = 10.0
    """Colors that the photo does not show are held so many times smoother: perceptual labels alone would speckle them."""
