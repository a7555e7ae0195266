"""Poses points with the body's joints and differentiates them in closed form.

With joints given as axis-angle in rest-space axes, turning joint j by a small world rotation a moves whatever hangs on
it by a x (x - p_j), p_j being the joint's place. A skinned point is a weighted sum of such copies, hence its derivative
is (sum of weighted copies below j) - (their weight) p_j, crossed with the axis. Exact, and one matrix product for all
joints; automatic differentiation of the same needs a pass per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from avatarkit.interfaces import BodyModel
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points

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
        body: whose pose it is.
        x: (P,) the unknowns. transforms: (J, 4, 4) rest space to world.
        joints: (J, 3) axis-angle. places: (J, 3) joints in the world.
    """

    body: Kinematics
    x: torch.Tensor
    transforms: torch.Tensor
    joints: torch.Tensor
    places: torch.Tensor

    @cached_property
    def axes(self) -> torch.Tensor:
        """(1 + Q, 3, 3) world axes about which the root and every moved joint turn when its three numbers grow."""
        par = self.body.parameters
        own = self.transforms[self.body.parent[par.joint], :3, :3] @ left_jacobian(self.joints[par.joint])
        own = own @ self.body.frames
        return torch.cat([left_jacobian(self.x[par.layout.root])[None], own])


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
        self.turned = torch.cat([torch.zeros(1, dtype=torch.int64), parameters.joint])  # (1 + Q,) the root and its moved joints
        self.under = below[:, self.turned]
        self.frames = parameters.anatomy.frames[parameters.group] * parameters.share[:, None, None]  # (Q, 3, 3)
        three = torch.arange(3)
        at = parameters.layout
        groups = at.pose.start + 3 * parameters.group[:, None] + three
        self.columns = torch.cat([at.root.start + three[None], groups])  # (1 + Q, 3) of the vector

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
        return Posed(self, x, transforms, joints, places)

    def rest(self, posed: Posed, points: Points) -> torch.Tensor:
        """(n, 3) points in rest space for the pose's shape and expression."""
        at = self.parameters.layout
        rest = points.rest
        if points.by_face:
            rest = rest + points.by_expression @ posed.x[at.expression]
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
            posed: the pose at which to differentiate.
            points: of the body.
            rows: (n, k, 3) world directions; function (n, k) is their product with the point.

        Returns:
            (n, k, P).
        """
        at = self.parameters.layout
        n, k = rows.shape[:2]
        held = points.joints  # the few that hold these points
        A, weights = posed.transforms[held], points.weights[:, held]
        moving = self.under[held].any(0).nonzero()[:, 0]  # and the few that move them
        out = torch.zeros(n, k, at.size)
        out[..., at.translation] = rows

        # What hangs below each joint: its weighted copies, relative to the joint.
        rest = self.rest(posed, points)
        copies = torch.einsum("jab,nb->naj", A[:, :3, :3], rest) + A[:, :3, 3].T
        below = self.under[held][:, moving]
        places = posed.places[self.turned[moving]].T
        hanging = (copies * weights[:, None, :]) @ below - (weights @ below)[:, None, :] * places  # (n, 3, moving)
        # row . (axis x hanging) = axis . (hanging x row)
        h, r = hanging[:, None], rows[..., None]  # (n, 1, 3, moving), (n, k, 3, 1)
        turn = torch.stack(
            [
                h[:, :, 1] * r[:, :, 2] - h[:, :, 2] * r[:, :, 1],
                h[:, :, 2] * r[:, :, 0] - h[:, :, 0] * r[:, :, 2],
                h[:, :, 0] * r[:, :, 1] - h[:, :, 1] * r[:, :, 0],
            ],
            -1,
        )  # (n, k, moving, 3)
        by_joint = (turn[:, :, :, None, :] @ posed.axes[moving])[..., 0, :]
        out.index_add_(2, self.columns[moving].flatten(), by_joint.flatten(2))

        turned = rows @ (weights @ A[:, :3, :3].reshape(-1, 9)).reshape(n, 3, 3)  # rows seen from rest space
        if points.by_face:
            out[..., at.expression] = turned @ points.by_expression
        if points.by_shape is not None and self.identity.by_shape is not None:  # else known, or held for now
            change = posed.x[at.shape] - self.identity.shape
            carried = (points.weights @ self._carried(posed, self.identity.by_shape.at(change))).reshape(n, 3, -1)
            out[..., at.shape] = turned @ points.by_shape.at(change) + rows @ carried
        return out

    def _carried(self, posed: Posed, by_shape: torch.Tensor) -> torch.Tensor:
        """(J, 3 S) how each joint's transform shifts when rest joints move with the shape as ``by_shape`` (J, 3, S)."""
        A = posed.transforms[:, :3, :3]
        own = A[self.parent] - A  # parent (I - R) = parent - joint
        own[0] = -A[0]
        return self.below @ (own @ by_shape).flatten(1)
