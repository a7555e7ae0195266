"""Pictures of a body of which one limb moves; the rest is posed and drawn once."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from avatarkit.interfaces import MeshRasterizer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, linear_blend_skinning
from avatarkit_exavatar.body.parameters import Parameters

__all__ = ["OneLimb"]


class OneLimb:
    """One person whose joints below some groups move.

    Args:
        parameters: of the body. x: (P,) the pose of everything else.
        groups: pose groups that move; what hangs on them moves along.
        camera: of the pictures.
        offsets: (V, 3) of the surface, at rest.

    Attributes:
        vertices: (V, 3) the body in the pose ``x``.
        number: (n,) int64, vertices that can move and those that share a face with them.
    """

    def __init__(
        self,
        parameters: Parameters,
        x: torch.Tensor,
        groups: Iterable[str],
        camera: Camera,
        rasterizer: MeshRasterizer,
        offsets: torch.Tensor | None = None,
    ) -> None:
        body, pose = parameters.body, parameters.decode(x)
        self._parameters, self._camera, self._rasterizer = parameters, camera, rasterizer
        below = {joint for g in body.pose_groups if g.name in set(groups) for joint in g.joints}
        for joint, parent in enumerate(body.parents):  # parents precede children
            if parent in below:
                below.add(joint)
        of_limb = torch.isin(body.skinning_indices, torch.tensor(sorted(below))) & (body.skinning_weights > 0)
        moving = of_limb.any(1)[body.faces].any(1)
        self._faces = moving.nonzero()[:, 0]
        self.number, local = torch.unique(body.faces[self._faces], return_inverse=True)
        self._local = local.reshape(-1, 3)
        self._skeleton = body.skeleton(pose.shape)
        offsets = torch.zeros(len(body.skinning_weights), 3) if offsets is None else offsets
        self._rest = (body.rest(pose.shape, pose.expression[None]) + offsets)[:, self.number]
        self._indices, self._weights = body.skinning_indices[self.number], body.skinning_weights[self.number]
        self.vertices = body.vertices(pose, offsets)[0]
        still = (~moving).nonzero()[:, 0]
        drawn = rasterizer.render(Mesh(self.vertices, body.faces[still]), camera)
        covered = drawn.face_index >= 0
        self._still = torch.where(covered, still[drawn.face_index.clamp(min=0)], -1)
        self._depth = torch.where(covered, drawn.depth, torch.inf)

    def transforms(self, x: torch.Tensor) -> torch.Tensor:
        """(B, J, 4, 4) rest space to world, of poses (B, P) that differ in the limb alone."""
        at = self._parameters.layout
        joints = torch.stack([self._parameters.joints(row) for row in x])
        return self._parameters.body.joint_transforms(self._skeleton, x[:, at.root], x[:, at.translation], joints)

    def joint(self, transforms: torch.Tensor, joint: int) -> torch.Tensor:
        """(B, 3) where a joint is in the world."""
        at = transforms[:, joint]
        return (at[:, :3, :3] @ self._skeleton.positions[joint]) + at[:, :3, 3]

    def posed(self, transforms: torch.Tensor) -> torch.Tensor:
        """(B, n, 3) the vertices ``number`` in the world."""
        return linear_blend_skinning(self._rest, self._indices, self._weights, transforms)

    def draw(self, posed: torch.Tensor) -> torch.Tensor:
        """(H, W) int64 nearest face of the whole body, -1 where none, with the limb's vertices at ``posed`` (n, 3)."""
        drawn = self._rasterizer.render(Mesh(posed, self._local), self._camera)
        before = (drawn.face_index >= 0) & (drawn.depth < self._depth)
        return torch.where(before, self._faces[drawn.face_index.clamp(min=0)], self._still)

    def draw_alone(self, posed: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """(H, W) bool where some faces of the limb, marked in (F,), would be drawn if nothing were before them."""
        return self._rasterizer.render(Mesh(posed, self._local[faces[self._faces]]), self._camera).face_index >= 0
