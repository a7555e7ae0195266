"""What a pose does to the body's surface, vertex by vertex."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

import torch

from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams
from avatarkit_coupled_gs.deformation.rigid import dual_quaternions
from avatarkit_coupled_gs.deformation.skinning import transform
from avatarkit_coupled_gs.linear import LinearMap

__all__ = ["PosedBody", "PosedSurface"]

_MOST_STRETCHED = 5.0
_KEPT = 128  # poses: more than the label clips of a build have frames, 0.9 MB each


class PosedBody(NamedTuple):
    """One frame.

    Attributes:
        vertices: (V, ROW) rest vertices T(theta, phi), the rows of each vertex's blended transform, its stretch.
        joints: (J, 8) rest to world, as ``rigid.dual_quaternions``.
    """

    vertices: torch.Tensor
    joints: torch.Tensor

    def to(self, device: torch.device | str) -> PosedBody:
        """Return the same on ``device``."""
        return PosedBody(self.vertices.to(device), self.joints.to(device))


class PosedSurface:
    """Poses of one identity, as ``skinning.skin_bound`` and ``rigid.blend`` take them; nothing in it is learnt.

    Args:
        body: model. shape: (S,) identity. device: where the results go.
    """

    def __init__(self, body: BodyModel, shape: torch.Tensor, device: torch.device) -> None:
        self._body, self._shape, self._device = body, shape.cpu(), device
        V, F, faces = len(body.skinning_weights), len(body.faces), body.faces
        with torch.no_grad():
            self.template = body.rest(self._shape, torch.zeros(1, len(body.expression_names)))[0]
            self._skeleton = body.skeleton(self._shape)
            self._rest = self._metric(self.template)
        joints = len(self._skeleton.positions)
        indices, weights = body.skinning_indices, body.skinning_weights
        vertex = torch.arange(V).repeat_interleave(indices.shape[1])
        self._skinning = LinearMap(vertex, indices.reshape(-1), weights.reshape(-1), (V, joints))
        share = 1 / torch.bincount(faces.reshape(-1), minlength=V).clamp(min=1)[faces.reshape(-1)]
        self._around = LinearMap(faces.reshape(-1), torch.arange(F).repeat_interleave(3), share, (V, F))
        self._kept: OrderedDict[bytes, PosedBody] = OrderedDict()
        self._lock = Lock()  # a film asks for poses ahead, from another thread

    def __call__(self, params: BodyParams) -> PosedBody:
        """One frame; the last ones are kept."""
        p = params.to("cpu").batched()
        key = b"".join(t.detach().numpy().tobytes() for t in (p.expression, p.root, p.translation, p.joints))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._rows(p).to(self._device)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    @torch.no_grad()
    def _rows(self, p: BodyParams) -> PosedBody:
        T = self._body.rest(self._shape, p.expression)[0]
        A = self._body.joint_transforms(self._skeleton, p.root, p.translation, p.joints)[0, :, :3].reshape(-1, 12)
        blended = self._skinning.multiply(A, transposed=False)
        rows = torch.cat([T, blended, self._stretch(transform(blended, T))[:, None]], 1)
        return PosedBody(rows, dual_quaternions(A))

    def _stretch(self, posed: torch.Tensor) -> torch.Tensor:
        """(V,) how much longer the surface around each vertex is than at rest along its most stretched direction, 1 to 5.

        Closed lids and raised arms spread the same Gaussians over more surface; they grow with it, so that nothing shows
        through. Lids unfold up to fivefold in one direction and hardly in the other.
        """
        # principal stretches are square roots of the eigenvalues of rest^-1 now, where both are metrics of the triangle
        (a, b, c), (d, e, f) = self._rest, self._metric(posed)
        determinant = (a * c - b * b).clamp(min=1e-24)
        half = 0.5 * (c * d - 2.0 * b * e + a * f) / determinant  # of their sum
        product = (d * f - e * e).clamp(min=0.0) / determinant
        longest = (half + (half * half - product).clamp(min=0.0).sqrt()).clamp(1.0, _MOST_STRETCHED**2).sqrt()
        return self._around.multiply(longest[:, None], transposed=False)[:, 0].clamp(min=1.0)

    def _metric(self, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Products (F,) of two edges of each face: first with first, first with second, second with second."""
        a, b, c = (vertices[self._body.faces[:, k]] for k in range(3))
        u, v = b - a, c - a
        return (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
