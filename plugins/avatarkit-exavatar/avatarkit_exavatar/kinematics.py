"""Poses points with the body's joints and differentiates them in closed form.

With joints given as axis-angle in rest-space axes, turning joint j by a small world rotation a moves whatever hangs on
it by a x (x - p_j), p_j being the joint's place. A skinned point is a weighted sum of such copies, hence its derivative
is (sum of weighted copies below j) - (their weight) p_j, crossed with the axis. Exact, and one matrix product for all
joints; automatic differentiation of the same needs a pass per row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avatarkit.interfaces import BodyModel
from avatarkit_exavatar.parameters import Parameters
from avatarkit_exavatar.points import Identity, Points

__all__ = ["Kinematics", "Posed", "left_jacobian"]


def _cross_matrix(v: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (..., 3, 3), the matrix of v x."""
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


def left_jacobian(v: torch.Tensor) -> torch.Tensor:
    """Change of the rotation (as a small rotation on its left) per change of axis-angle, (..., 3) -> (..., 3, 3)."""
    angle = v.norm(dim=-1)[..., None, None].clamp_min(1e-3)
    K = _cross_matrix(v)
    return torch.eye(3) + (1 - torch.cos(angle)) / angle**2 * K + (angle - torch.sin(angle)) / angle**3 * (K @ K)


@dataclass(frozen=True)
class Posed:
    """The joints of one pose.

    Attributes:
        x: (P,) the unknowns. transforms: (J, 4, 4) rest space to world.
        joints: (J, 3) axis-angle. places: (J, 3) joints in the world.
    """

    x: torch.Tensor
    transforms: torch.Tensor
    joints: torch.Tensor
    places: torch.Tensor


class Kinematics:
    """Forward positions and their derivatives for one linearised identity."""

    def __init__(self, body: BodyModel, parameters: Parameters, identity: Identity) -> None:
        self.body = body
        self.parameters = parameters
        self.identity = identity
        count = len(body.parents)
        below = torch.eye(count)  # below[k, j] = 1 where j is k or above it
        for k, parent in enumerate(body.parents):
            if parent >= 0:
                below[k] += below[parent]
        self.below = below
        self.parent = torch.tensor([max(p, 0) for p in body.parents])

    def pose(self, x: torch.Tensor) -> Posed:
        """Joints of the vector (P,); rest positions follow the shape to first order."""
        at, identity = self.parameters.layout, self.identity
        skeleton = identity.skeleton
        rest = skeleton.positions
        if identity.by_shape is not None:
            rest = rest + identity.by_shape.moved(x[at.shape] - identity.shape)
            skeleton = type(skeleton)(rest, skeleton.orientations)
        joints = self.parameters.joints(x)
        transforms = self.body.joint_transforms(skeleton, x[None, at.root], x[None, at.translation], joints[None])[0]
        places = (transforms[:, :3, :3] @ rest[..., None])[..., 0] + transforms[:, :3, 3]
        return Posed(x, transforms, joints, places)

    def rest(self, posed: Posed, points: Points) -> torch.Tensor:
        """(n, 3) points in rest space for the pose's shape and expression."""
        at = self.parameters.layout
        rest = points.rest + points.by_expression @ posed.x[at.expression]
        if points.by_shape is not None:
            rest = rest + points.by_shape.moved(posed.x[at.shape] - self.identity.shape)
        return rest

    def world(self, posed: Posed, points: Points) -> torch.Tensor:
        """(n, 3) posed points."""
        blend = (points.weights @ posed.transforms[:, :3].reshape(-1, 12)).reshape(-1, 3, 4)
        return (blend[..., :3] @ self.rest(posed, points)[..., None])[..., 0] + blend[..., 3]

    def derivative(self, posed: Posed, points: Points, rows: torch.Tensor) -> torch.Tensor:
        """How linear functions of the points change with the unknowns.

        Args:
            rows: (n, k, 3) world directions; function (n, k) is their product with the point.

        Returns:
            (n, k, P).
        """
        at, par = self.parameters.layout, self.parameters
        n, k = rows.shape[:2]
        A = posed.transforms
        out = torch.empty(n, k, at.size)
        out[..., at.translation] = rows

        # What hangs below each joint: its weighted copies, relative to the joint.
        rest = self.rest(posed, points)
        copies = torch.einsum("jab,nb->naj", A[:, :3, :3], rest) + A[:, :3, 3].T
        needed = torch.cat([torch.zeros(1, dtype=torch.int64), par.joint])
        below = self.below[:, needed]  # (J, 1 + Q)
        weights = points.weights
        hanging = (copies * weights[:, None, :]) @ below - (weights @ below)[:, None, :] * posed.places[needed].T
        # row . (axis x hanging) = axis . (hanging x row)
        h, r = hanging[:, None], rows[..., None]  # (n, 1, 3, 1+Q), (n, k, 3, 1)
        turn = torch.stack(
            [
                h[:, :, 1] * r[:, :, 2] - h[:, :, 2] * r[:, :, 1],
                h[:, :, 2] * r[:, :, 0] - h[:, :, 0] * r[:, :, 2],
                h[:, :, 0] * r[:, :, 1] - h[:, :, 1] * r[:, :, 0],
            ],
            -1,
        )  # (n, k, 1+Q, 3)
        out[..., at.root] = turn[:, :, 0] @ left_jacobian(posed.x[at.root])
        axes = A[self.parent[par.joint], :3, :3] @ left_jacobian(posed.joints[par.joint])
        axes = axes @ par.anatomy.frames[par.group] * par.share[:, None, None]  # (Q, 3, 3)
        by_joint = (turn[:, :, 1:, None, :] @ axes)[..., 0, :]
        by_group = torch.zeros(n, k, at.groups, 3).index_add_(2, par.group, by_joint)
        out[..., at.pose] = by_group.reshape(n, k, -1)

        turned = rows @ (weights @ A[:, :3, :3].reshape(-1, 9)).reshape(n, 3, 3)  # rows seen from rest space
        out[..., at.expression] = turned @ points.by_expression
        if points.by_shape is None or self.identity.by_shape is None:
            out[..., at.shape] = 0.0  # known, or held for now
        else:
            change = posed.x[at.shape] - self.identity.shape
            carried = (weights @ self._carried(posed, self.identity.by_shape.at(change))).reshape(n, 3, -1)
            out[..., at.shape] = turned @ points.by_shape.at(change) + rows @ carried
        return out

    def _carried(self, posed: Posed, by_shape: torch.Tensor) -> torch.Tensor:
        """(J, 3 S) how each joint's transform shifts when rest joints move with the shape as ``by_shape`` (J, 3, S)."""
        A = posed.transforms[:, :3, :3]
        own = A[self.parent] - A  # parent (I - R) = parent - joint
        own[0] = -A[0]
        return self.below @ (own @ by_shape).flatten(1)
