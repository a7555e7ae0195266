"""3D Gaussians and their rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["SH0", "GaussianRendering", "Gaussians", "quaternion_to_matrix", "rotate_sh", "sh_basis", "sh_degree_of"]

SH0 = 0.28209479177387814
"""The spherical harmonic of degree 0: 3D Gaussian splatting stores ``colors`` as (colors - 0.5) / SH0."""
MAX_SH_DEGREE = 3
_COUNTS = {(degree + 1) ** 2 - 1: degree for degree in range(1, MAX_SH_DEGREE + 1)}  # coefficients behind the constant one


@dataclass(frozen=True)
class Gaussians:
    """N 3D Gaussians in world space.

    The cheap default is the paper's (section 3.4): isotropic, of one color from all sides. With ``rotations`` and (N, 3) scales
    they are ellipsoids; with ``sh`` their color depends on the direction from which they are seen. A renderer declares which of
    both it draws, see ``Register``.

    Attributes:
        means: (N, 3) meters.
        scales: (N,) standard deviation in meters, positive; or (N, 3), one along each axis of ``rotations``.
        colors: (N, 3) sRGB, 0 to 1 (not clamped); with ``sh`` its part that is the same from all sides.
        opacities: (N,) 0 to 1; the paper fixes them at 1.
        rotations: (N, 4) unit quaternions w x y z, from the Gaussian's axes to the world's; None = the world's axes.
        sh: (N, K, 3) coefficients of the real spherical harmonics of degree 1 up to 3 (K = 3, 8 or 15), in world axes, with order
            and signs of 3D Gaussian splatting; see ``colors_from``. None = the same color from all sides. An avatar that turns a
            Gaussian turns them as well, with ``rotate_sh``.
    """

    means: torch.Tensor
    scales: torch.Tensor
    colors: torch.Tensor
    opacities: torch.Tensor
    rotations: torch.Tensor | None = None
    sh: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def isotropic(self) -> bool:
        """Whether they are spheres."""
        return self.scales.ndim == 1

    @property
    def features(self) -> tuple[str, ...]:
        """What a renderer must draw beyond spheres of one color: ``anisotropic``, ``sh``."""
        return ("anisotropic",) * (not self.isotropic) + ("sh",) * (self.sh is not None)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Gaussians:
        """Return Gaussians of changed tensors, e.g. a selection: ``g.map(lambda t: t[kept])``."""
        more = (None if t is None else change(t) for t in (self.rotations, self.sh))
        return Gaussians(change(self.means), change(self.scales), change(self.colors), change(self.opacities), *more)

    def axes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return quaternions (N, 4) and scales (N, 3) of any Gaussians, as most file formats and libraries take them."""
        unit = torch.eye(1, 4, dtype=self.means.dtype, device=self.means.device).expand(len(self), 4)
        scales = self.scales[:, None].expand(-1, 3) if self.isotropic else self.scales
        return unit if self.rotations is None or self.isotropic else self.rotations, scales

    def covariances(self) -> torch.Tensor:
        """Return R diag(scales^2) R^T as (N, 6): xx, xy, xz, yy, yz, zz, square meters; differentiable."""
        quaternions, scales = self.axes()
        x, y, z = (quaternion_to_matrix(quaternions) * scales[:, None, :]).unbind(1)
        return torch.stack([(a * b).sum(-1) for a, b in ((x, x), (x, y), (x, z), (y, y), (y, z), (z, z))], -1)

    def colors_from(self, position: torch.Tensor) -> torch.Tensor:
        """Return the colors (N, 3) as seen from a world position (3,); differentiable.

        They are ``max(0, colors + sum_k Y_k(d) sh_k)`` with the unit direction d from the position to the mean, as in 3D Gaussian
        splatting (Kerbl et al. 2023).
        """
        if self.sh is None:
            return self.colors
        away = (self.means - position.to(self.means)).nan_to_num(0.0, 0.0, 0.0)  # what is not finite is not drawn
        directions = torch.nn.functional.normalize(away, dim=-1)
        # no matrix product: its rounding is not the same in every run
        return (self.colors + (sh_basis(directions, sh_degree_of(self.sh))[..., None] * self.sh).sum(1)).clamp(min=0)


@dataclass(frozen=True)
class GaussianRendering:
    """A rendering of Gaussians.

    Attributes:
        rgb: (H, W, 3) composited over the background.
        alpha: (H, W) accumulated opacity.
        depth: (H, W) meters along the camera's z, mean weighted by alpha; 0 for empty pixels. No gradient.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """Convert unit quaternions (..., 4), w x y z, to matrices (..., 3, 3)."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def sh_degree_of(sh: torch.Tensor) -> int:
    """Return the degree, 1 to 3, of coefficients (N, K, 3).

    Raises:
        ValueError: K is not 3, 8 or 15.
    """
    if sh.ndim != 3 or sh.shape[1] not in _COUNTS:
        raise ValueError(f"sh should be (N, 3, 3), (N, 8, 3) or (N, 15, 3), not {tuple(sh.shape)}")
    return _COUNTS[sh.shape[1]]


def sh_basis(directions: torch.Tensor, degree: int) -> torch.Tensor:
    """Return the real spherical harmonics of degree 1 to ``degree`` at unit directions (..., 3): (..., K).

    They are sorted by degree l and then by order -l to l. Signs are those of 3D Gaussian splatting, with the Condon-Shortley
    phase.
    """
    x, y, z = directions.unbind(-1)
    values = [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]  # sqrt(3 / 4 pi)
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        a = 1.0925484305920792  # sqrt(15 / 4 pi)
        values += [a * x * y, -a * y * z, 0.31539156525252005 * (3 * zz - 1), -a * x * z, 0.5 * a * (xx - yy)]
    if degree > 2:
        b, c, d = 0.5900435899266435, 2.890611442640554, 0.4570457994644658  # roots of 35 / 32 pi, 105 / 4 pi, 21 / 32 pi
        values += [
            -b * y * (3 * xx - yy), c * x * y * z, -d * y * (5 * zz - 1), 0.3731763325901154 * z * (5 * zz - 3),
            -d * x * (5 * zz - 1), 0.5 * c * z * (xx - yy), -b * x * (xx - 3 * yy),
        ]  # fmt: skip
    return torch.stack(values, -1)


def rotate_sh(sh: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Turn spherical harmonics with the things that they color; differentiable in ``sh``.

    What was seen from direction d is seen from R d afterwards. Each degree turns within itself: its values at as many fixed
    directions as it has coefficients tell the new coefficients.

    Args:
        sh: (N, K, 3) coefficients, see ``Gaussians``.
        rotations: (N, 3, 3).
    """
    parts, first = [], 0
    for degree in range(1, sh_degree_of(sh) + 1):
        count = 2 * degree + 1
        k = torch.arange(count, dtype=torch.float64)
        height, angle = 1 - (2 * k + 1) / (count + 1.5), 2.399963229728653 * k  # a spiral of golden angles, well conditioned
        radius = (1 - height * height).sqrt()
        at = torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)
        inverse = torch.linalg.inv(sh_basis(at, degree)[:, first:]).to(sh)
        at = at.to(sh)
        before = (rotations[:, None] * at[:, :, None]).sum(2)  # R^T d of each direction d
        values = (sh_basis(before, degree)[..., first:, None] * sh[:, None, first : first + count]).sum(2)  # (N, count, 3)
        parts.append((inverse[None, :, :, None] * values[:, None]).sum(2))
        first += count
    return torch.cat(parts, 1)
