"""Registers the body with one photo, in stages from coarse to fine."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import torch

from avatarkit.camera import Camera
from avatarkit.interfaces import BodyModel, Context, MeshRasterizer
from avatarkit.subject import Matte
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.contour import MatteBorder, silhouette_weights
from avatarkit_exavatar.kinematics import Kinematics
from avatarkit_exavatar.landmarks import landmark_terms, set_points
from avatarkit_exavatar.limbs import lay_limbs
from avatarkit_exavatar.observation import Observation
from avatarkit_exavatar.parameters import Parameters
from avatarkit_exavatar.points import Identity, Points
from avatarkit_exavatar.priors import make_prior
from avatarkit_exavatar.solver import Prior, minimise
from avatarkit_exavatar.terms import Term
from avatarkit_exavatar.torso import clearance

__all__ = ["PhotoFit", "starting_point"]

logger = logging.getLogger("avatarkit.exavatar")

_HEAD_METRES = 0.163


def starting_point(parameters: Parameters, observation: Observation, camera: Camera) -> torch.Tensor:
    """(P,) upright at the distance that the head's size tells, turned as the shoulders are."""
    body = parameters.body
    shape = body.neutral().shape if parameters.shape is None else parameters.shape
    x = parameters.encode(body.neutral())
    x[parameters.layout.pose] = parameters.anatomy.mean.flatten()
    distance = float(camera.K[0, 0]) * _HEAD_METRES / observation.head_pixels
    name = "face478" if "face478" in observation.sets else "pose33"
    seen = observation.sets[name]
    if name == "pose33":
        trust = seen.weight[:, None] + 1e-3
        centre = (seen.pixels * trust).sum(0) / trust.sum()
    else:
        trust = torch.ones(len(seen.pixels), 1)
        centre = seen.pixels.mean(0)
    points = set_points(Identity(body, shape, False), seen).rest
    middle = (points * trust).sum(0) / trust.sum()
    root = body.skeleton(shape).positions[0]
    ray = torch.linalg.inv(camera.K) @ torch.cat([centre, torch.ones(1)])
    place = torch.linalg.inv(camera.T_camera_world) @ torch.cat([ray * distance, torch.ones(1)])
    pose33 = observation.sets.get("pose33")
    if pose33 is not None and pose33.depth is not None:
        row = {int(k): i for i, k in enumerate(pose33.table.index)}  # type: ignore[union-attr]
        across = (pose33.depth[row[11]] - pose33.depth[row[12]]) @ camera.T_camera_world[:3, :3]
        x[4] = math.atan2(-float(across[2]), float(across[0]))
    yaw = float(x[4])
    turn = torch.tensor([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    x[parameters.layout.translation] = place[:3] - turn @ (middle - root)
    return x


@dataclass
class PhotoFit:
    """The unknowns of one photo and how far they have come; ``run`` does the stages in order."""

    body: BodyModel
    parameters: Parameters
    config: ExAvatarConfig
    observation: Observation
    camera: Camera
    matte: Matte | None
    rasterizer: MeshRasterizer
    context: Context
    x: torch.Tensor = field(init=False)
    prior: Prior = field(init=False)

    def run(self) -> torch.Tensor:
        """(P,) the fitted vector."""
        say = self.context.progress
        seen = self.observation.visible
        hands = {"left": seen["left_hand"], "right": seen["right_hand"]}
        self.prior = make_prior(self.body, self.parameters, self.config, hands)
        self.x = starting_point(self.parameters, self.observation, self.camera)
        say("finding the pose", 0.0)
        self._pose()
        say("finding the build", 0.3)
        self._refine(self._free(shape="build"), self.config.shape_rounds)
        say("finding the details", 0.6)
        self._refine(self._free(shape="all"), self.config.detail_rounds)
        say("fitted", 1.0)
        return self.x

    def _free(self, shape: str = "none", fingers: bool = True, limbs: bool = True, face: bool = True) -> torch.Tensor:
        """(P,) bool, unknowns that a stage may change."""
        par, at = self.parameters, self.parameters.layout
        free = torch.ones(at.size, dtype=torch.bool)
        angles = torch.ones(3 * at.groups, dtype=torch.bool) if limbs else par.trunk()
        free[at.pose] = angles & (fingers | ~par.fingers()) & (face | ~par.eyes())
        free[at.expression] = face
        build = self.body.neutral().shape != 0
        free[at.shape] = {"none": torch.zeros_like(build), "build": build, "all": torch.ones_like(build)}[shape]
        return free

    def _identity(self, movable: bool) -> tuple[Kinematics, dict[str, Points]]:
        identity = Identity(self.body, self.x[self.parameters.layout.shape], movable)
        points = {name: set_points(identity, seen) for name, seen in self.observation.sets.items()}
        return Kinematics(self.body, self.parameters, identity), points

    def _terms(self, kinematics: Kinematics, points: dict[str, Points], names: set[str], coarse: float) -> list[Term]:
        distance = float(self.camera.to_camera(self.x[None, self.parameters.layout.translation])[0, 2])
        return landmark_terms(points, self.observation, self.camera, max(distance, 0.1), self.config, names, coarse)

    def _pose(self) -> None:
        """Where the person stands: first the trunk and head, then the limbs, then the fingers."""
        kinematics, points = self._identity(movable=False)
        whole = {"face478", "pose33"}
        steps = (
            (self._free(fingers=False, limbs=False, face=False), whole, 20.0),
            (self._free(fingers=False, face=False), whole, 5.0),
            (self._free(), set(points), 3.0),
        )
        for number, (free, names, coarse) in enumerate(steps):
            if number == 1:
                self.x = lay_limbs(kinematics, self.x, self.observation, self.camera)
            terms = self._terms(kinematics, points, names, coarse)
            self.x = minimise(kinematics, self.x, terms, self.prior, free, self.config.pose_iterations)

    def _refine(self, free: torch.Tensor, rounds: int) -> None:
        """Everything with the silhouette, which is matched anew every round."""
        border = None
        if self.matte is not None:
            border = MatteBorder(self.matte, self.camera, self.observation.head_pixels, self.config.silhouette_pixels)
        vertex_weight = silhouette_weights(self.body, self.observation)
        for _ in range(rounds):
            kinematics, points = self._identity(movable=True)
            terms = self._terms(kinematics, points, set(points), 1.0)
            silhouette = None if border is None else border.match(
                kinematics.identity,
                self.body.vertices(self.parameters.decode(self.x))[0],
                self.rasterizer,
                vertex_weight,
                self.config.silhouette_inside,
                self.config.silhouette_weight,
                self.config.silhouette_points,
            )
            if silhouette is not None:
                terms.append(silhouette)
            terms.append(clearance(kinematics.identity, self.config.clearance_weight))
            self.x = minimise(kinematics, self.x, terms, self.prior, free, self.config.shape_iterations)
