"""The unknowns of a fit as one flat vector, and what each pose number means anatomically."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams
from avatarkit_exavatar.body.anatomy import Anatomy

__all__ = ["Layout", "Parameters"]


@dataclass(frozen=True)
class Layout:
    """Where each kind of unknown lies in the vector: translation, root, pose, expression, shape.

    Attributes:
        groups: number of pose groups G; each has three angles about its anatomical axes.
        expressions: E. shapes: S.
    """

    groups: int
    expressions: int
    shapes: int

    @property
    def translation(self) -> slice:
        """World position of the root joint."""
        return slice(0, 3)

    @property
    def root(self) -> slice:
        """Axis-angle of the whole body."""
        return slice(3, 6)

    @property
    def pose(self) -> slice:
        """Three angles of each group."""
        return slice(6, 6 + 3 * self.groups)

    @property
    def expression(self) -> slice:
        """Facial actions."""
        return slice(self.pose.stop, self.pose.stop + self.expressions)

    @property
    def shape(self) -> slice:
        """Identity."""
        return slice(self.expression.stop, self.expression.stop + self.shapes)

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return self.shape.stop


class Parameters:
    """Translates between the vector of unknowns and ``BodyParams``.

    A pose group's three numbers are an axis-angle written in the group's anatomical frame (bend, sideways, twist), so
    that joint limits are plain bounds. Each joint of the group takes its share of the rotation.

    Args:
        shape: (S,) of a person who is known, which then is no unknown (the layout has no shapes); None = to be found.
    """

    def __init__(self, body: BodyModel, anatomy: Anatomy, shape: torch.Tensor | None = None) -> None:
        self.body = body
        self.anatomy = anatomy
        self.shape = shape
        shapes = len(body.shape_names) if shape is None else 0
        self.layout = Layout(len(body.pose_groups), len(body.expression_names), shapes)
        pairs = [
            (joint, group, share)
            for group, g in enumerate(body.pose_groups)
            for joint, share in zip(g.joints, g.share, strict=True)
            if joint > 0  # the root joint turns with ``root`` alone
        ]
        self.joint = torch.tensor([p[0] for p in pairs])  # (Q,) every joint that some group moves
        self.group = torch.tensor([p[1] for p in pairs])
        self.share = torch.tensor([p[2] for p in pairs])

    def knowing(self, shape: torch.Tensor) -> Parameters:
        """Return the same of a person whose shape (S,) is known."""
        return Parameters(self.body, self.anatomy, shape.clone())

    def free(self, details: bool) -> torch.Tensor:
        """(P,) bool, unknowns that a stage may change: with every shape number, or those of the general build alone."""
        free = torch.ones(self.layout.size, dtype=torch.bool)
        free[self.layout.shape] = details | (self.body.neutral().shape != 0)
        return free

    def joints(self, x: torch.Tensor) -> torch.Tensor:
        """(J, 3) axis-angle of every joint from the vector (P,)."""
        angles = x[self.layout.pose].reshape(-1, 3)
        rotation = (self.anatomy.frames @ angles[..., None])[..., 0]  # (G, 3) in rest-space axes
        out = torch.zeros(len(self.body.joint_names), 3)
        return out.index_add(0, self.joint, rotation[self.group] * self.share[:, None])

    def decode(self, x: torch.Tensor) -> BodyParams:
        """One frame from the vector (P,)."""
        at = self.layout
        return BodyParams(
            model=self.body.name,
            shape=(x[at.shape] if self.shape is None else self.shape).clone(),
            expression=x[at.expression].clone(),
            root=x[at.root].clone(),
            translation=x[at.translation].clone(),
            joints=self.joints(x),
        )

    def encode(self, params: BodyParams) -> torch.Tensor:
        """Return the vector (P,) of one frame; rotations that no pose group can make are lost."""
        at = self.layout
        x = torch.zeros(at.size)
        x[at.translation], x[at.root] = params.translation, params.root
        x[at.expression] = params.expression
        if self.shape is None:
            x[at.shape] = params.shape
        weighted = torch.zeros(at.groups, 3).index_add(0, self.group, params.joints[self.joint] * self.share[:, None])
        norm = torch.zeros(at.groups).index_add(0, self.group, self.share**2)
        rotation = weighted / norm.clamp_min(1e-9)[:, None]
        x[at.pose] = (self.anatomy.frames.mT @ rotation[..., None]).reshape(-1)
        return x

    def _marked(self, pattern: str) -> torch.Tensor:
        """(3 G,) bool, the angles of the groups whose whole name matches."""
        marked = torch.zeros(self.layout.groups, 3, dtype=torch.bool)
        for name, row in self.anatomy.number.items():
            marked[row] = re.fullmatch(pattern, name) is not None
        return marked.flatten()

    def trunk(self) -> torch.Tensor:
        """(3 G,) bool, angles of spine, neck and head."""
        return self._marked(r"spine\d|neck|head")

    def fingers(self, side: str = "left|right") -> torch.Tensor:
        """(3 G,) bool, angles of the fingers and the palm of a side."""
        return self._marked(rf"({side})_(thumb|index|middle|ring|pinky|metacarpal)\d")

    def arm(self, side: str) -> torch.Tensor:
        """(3 G,) bool, angles of an arm from the collar to the wrist."""
        return self._marked(rf"{side}_(collar|shoulder)") | self.forearm(side)

    def forearm(self, side: str) -> torch.Tensor:
        """(3 G,) bool, angles that do not move the elbow: what a picture says nothing of where it ends there."""
        return self._marked(rf"{side}_(upper_arm_twist|elbow|forearm_twist|wrist)")

    def eyes(self) -> torch.Tensor:
        """(3 G,) bool, angles of the eyes."""
        return self._marked(r"(left|right)_eye.*")

    def group_slice(self, name: str) -> slice | None:
        """Where the three angles of a pose group lie in the vector; None where the model has no such group."""
        number = self.anatomy.number.get(name)
        return None if number is None else slice(6 + 3 * number, 9 + 3 * number)
