"""Points that ride on the body: face landmarks on triangles, body and hand landmarks in joint frames, contour points.

All of them are the same thing to the solver: a place in rest space that depends on shape and expression, and weights
over joints. A point on a triangle takes the mixed weights of its corners, which differs from mixing the skinned corners
by far less than a millimeter on triangles of this size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from avatarkit.interfaces import BodyModel, Skeleton
from avatarkit.types.body import JointLandmarks, SurfaceLandmarks
from avatarkit.types.mesh import barycentric
from avatarkit.utils.threads import shared_workers

__all__ = ["Identity", "Points", "Slopes", "joint_points", "near_joints", "surface_points"]

_KINK = 0.01  # how far from a shape its slopes to either side are taken


@dataclass(frozen=True)
class Slopes:
    """How n places move with the shape, on either side of where it was linearised.

    Shape spaces have kinks at their neutral values: a change and its opposite are different targets. With a slope for
    each side the model is exact there, where a single one would make the search run into walls that are not there.

    Attributes:
        up, down: (n, 3, S) derivative for growing and for falling shape numbers.
    """

    up: torch.Tensor
    down: torch.Tensor

    def __getitem__(self, rows: torch.Tensor | list[int]) -> Slopes:
        return Slopes(self.up[rows], self.down[rows])

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Slopes:
        """Return the slopes of a linear function of the places."""
        return Slopes(function(self.up), function(self.down))

    def moved(self, change: torch.Tensor) -> torch.Tensor:
        """(n, 3) displacement for a change (S,) of the shape."""
        return self.up @ change.clamp_min(0.0) + self.down @ change.clamp_max(0.0)

    def at(self, change: torch.Tensor) -> torch.Tensor:
        """(n, 3, S) derivative there; halfway at a kink."""
        side = (0.5 + 0.5 * change.sign()) * torch.ones(())
        return self.down + (self.up - self.down) * side


@dataclass(frozen=True)
class Points:
    """n points that ride on the body.

    Attributes:
        rest: (n, 3) for the identity's shape, no expression.
        weights: (n, J) of skinning.
        by_expression: (n, 3, E) derivative of ``rest``.
        by_shape: n slopes of ``rest``, or None where the shape is fixed.
    """

    rest: torch.Tensor
    weights: torch.Tensor
    by_expression: torch.Tensor
    by_shape: Slopes | None

    @cached_property
    def joints(self) -> torch.Tensor:
        """(j,) joints that hold any of the points."""
        return self.weights.any(0).nonzero()[:, 0]

    @cached_property
    def by_face(self) -> bool:
        """Whether facial actions move any of the points."""
        return bool(self.by_expression.any())

    def __len__(self) -> int:
        return len(self.rest)

    def __getitem__(self, rows: torch.Tensor) -> Points:
        return Points(
            rest=self.rest[rows],
            weights=self.weights[rows],
            by_expression=self.by_expression[rows],
            by_shape=None if self.by_shape is None else self.by_shape[rows],
        )


def _slopes(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> Slopes:
    """Return derivatives of (S,) -> (n, 3) a little above and a little below ``at``.

    Reverse mode applied twice is forward mode, and the second pass is one batched sweep for all S.
    """
    both = [at, at]

    def derive(start: int, stop: int) -> None:
        for n in range(start, stop):
            shape = (at + (_KINK, -_KINK)[n]).detach().requires_grad_(True)
            with torch.enable_grad():
                value = function(shape)
                dual = torch.zeros_like(value, requires_grad=True)
                (pulled,) = torch.autograd.grad(value, shape, dual, create_graph=True)
                (slope,) = torch.autograd.grad(pulled, dual, torch.eye(len(at)), is_grads_batched=True)
            both[n] = slope.permute(1, 2, 0).contiguous()

    shared_workers().run(derive, [(0, 1), (1, 2)])
    return Slopes(*both)


class Identity:
    """A shape and how the skeleton changes around it.

    Attributes:
        shape: (S,) where everything is linearised.
        skeleton: of that shape.
        by_shape: J slopes of the joints' rest positions, or None where the shape is fixed.
    """

    def __init__(self, body: BodyModel, shape: torch.Tensor, movable: bool) -> None:
        self.body = body
        self.shape = shape.detach().clone()
        self.movable = movable
        with torch.no_grad():
            self.skeleton: Skeleton = body.skeleton(self.shape)
        self.by_shape = _slopes(lambda s: body.skeleton(s).positions, self.shape) if movable else None

    def rest(self, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Slopes | None]:
        """Rest positions (n, 3), derivative by expression (n, 3, E) and by shape of some vertices."""
        body, count = self.body, len(self.body.expression_names)
        none = torch.zeros(1, count)
        with torch.no_grad():
            both = body.rest(self.shape, torch.cat([none, torch.eye(count)]), vertices)
        by_shape = _slopes(lambda s: body.rest(s, none, vertices)[0], self.shape) if self.movable else None
        return both[0], (both[1:] - both[0]).permute(1, 2, 0).contiguous(), by_shape


def surface_points(identity: Identity, landmarks: SurfaceLandmarks) -> Points:
    """Points on triangles."""
    body = identity.body
    vertices, local = torch.unique(landmarks.triangles, return_inverse=True)
    rest, by_expression, by_shape = identity.rest(vertices)
    weights = torch.zeros(len(vertices), len(body.joint_names)).scatter_add(
        1, body.skinning_indices[vertices], body.skinning_weights[vertices]
    )

    def mix(values: torch.Tensor) -> torch.Tensor:
        flat = values.reshape(len(vertices), -1)
        return barycentric(flat, local, landmarks.barycentric).reshape(-1, *values.shape[1:])

    return Points(mix(rest), mix(weights), mix(by_expression), None if by_shape is None else by_shape.map(mix))


def joint_points(identity: Identity, landmarks: JointLandmarks) -> Points:
    """Points fixed to joints; their offsets grow with the bone."""
    body, skeleton = identity.body, identity.skeleton
    n = len(landmarks.joint)
    start, end = landmarks.bone.T
    bone = skeleton.positions[start] - skeleton.positions[end]
    length = bone.norm(dim=-1)
    reach = (skeleton.orientations[landmarks.joint] @ landmarks.offset[..., None])[..., 0]
    reach = reach / landmarks.bone_length[:, None]

    def ride(slope: torch.Tensor) -> torch.Tensor:
        stretch = (bone / length[:, None])[..., None] * (slope[start] - slope[end])
        return slope[landmarks.joint] + reach[..., None] * stretch.sum(1, keepdim=True)

    return Points(
        rest=skeleton.positions[landmarks.joint] + reach * length[:, None],
        weights=torch.nn.functional.one_hot(landmarks.joint, len(body.joint_names)).float(),
        by_expression=torch.zeros(n, 3, len(body.expression_names)),
        by_shape=None if identity.by_shape is None else identity.by_shape.map(ride),
    )


def near_joints(identity: Identity, joints: list[int], shift: torch.Tensor | None = None) -> Points:
    """Joints as points, or points that are shifted (n, 3) from them in rest space."""
    rest = identity.skeleton.positions[joints]
    return Points(
        rest=rest if shift is None else rest + shift,
        weights=torch.nn.functional.one_hot(torch.tensor(joints), len(identity.skeleton.positions)).float(),
        by_expression=torch.zeros(len(joints), 3, len(identity.body.expression_names)),
        by_shape=None if identity.by_shape is None else identity.by_shape[joints],
    )
