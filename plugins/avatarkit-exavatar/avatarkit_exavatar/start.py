"""Finds the pose of a picture from nothing: trunk and head, then arms and legs, then everything."""

from __future__ import annotations

import math

import torch

from avatarkit.body import JointLandmarks
from avatarkit.camera import Camera
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.kinematics import Kinematics
from avatarkit_exavatar.landmarks import landmark_terms, set_points
from avatarkit_exavatar.limbs import lay_limbs
from avatarkit_exavatar.observation import Observation, trunk_only
from avatarkit_exavatar.parameters import Parameters
from avatarkit_exavatar.points import Identity, Points
from avatarkit_exavatar.solver import Prior, minimise, total_cost
from avatarkit_exavatar.terms import Term

__all__ = ["camera_distance", "find_pose", "starting_point"]

_HEAD_METRES = 0.163
_WRONG = 2.5  # sigmas of an arm's landmarks above which it is laid another way
_SIDES = {"left": (13, 15), "right": (14, 16)}


def camera_distance(parameters: Parameters, camera: Camera, x: torch.Tensor) -> float:
    """Metres from the camera to the root joint, along its view."""
    return max(float(camera.to_camera(x[None, parameters.layout.translation])[0, 2]), 0.1)


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


def find_pose(
    kinematics: Kinematics,
    points: dict[str, Points],
    observation: Observation,
    camera: Camera,
    prior: Prior,
    config: ExAvatarConfig,
) -> torch.Tensor:
    """(P,) pose and expression of a picture, the shape being that of ``kinematics``."""
    parameters = kinematics.parameters
    at = parameters.layout
    x = starting_point(parameters, observation, camera)
    trunk = torch.ones(at.size, dtype=torch.bool)
    trunk[at.pose] = parameters.trunk()
    trunk[at.expression] = trunk[at.shape] = False
    limbs = trunk.clone()
    limbs[at.pose] = ~(parameters.fingers() | parameters.eyes())
    everything = limbs.clone()
    everything[at.pose] = everything[at.expression] = True

    def terms(seen: Observation, names: set[str], coarse: float) -> list[Term]:
        return landmark_terms(points, seen, camera, camera_distance(parameters, camera, x), config, names, coarse)

    whole = {"face478", "pose33"}
    steps = config.pose_iterations
    x = minimise(kinematics, x, terms(trunk_only(observation), whole, 20.0), prior, trunk, steps)
    x = lay_limbs(kinematics, x, observation, camera)
    x = minimise(kinematics, x, terms(observation, set(points), 5.0), prior, limbs, steps)
    x = _other_arms(kinematics, x, terms(observation, set(points), 5.0), observation, camera, prior, steps)
    return minimise(kinematics, x, terms(observation, set(points), 3.0), prior, everything, steps)


def _other_arms(
    kinematics: Kinematics,
    x: torch.Tensor,
    terms: list[Term],
    observation: Observation,
    camera: Camera,
    prior: Prior,
    steps: int,
) -> torch.Tensor:
    """(P,) tries other depths of arms that have come to rest in a wrong place."""
    parameters = kinematics.parameters
    cost = total_cost(kinematics, kinematics.pose(x), terms, prior)
    for side in _SIDES:
        if _arm_error(kinematics, x, observation, camera, side) < _WRONG:
            continue
        free = torch.zeros(parameters.layout.size, dtype=torch.bool)
        free[parameters.layout.pose] = parameters.arm(side)
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            other = lay_limbs(kinematics, x, observation, camera, {f"{side}_shoulder": signs})
            other = minimise(kinematics, other, terms, prior, free, steps)
            its_cost = total_cost(kinematics, kinematics.pose(other), terms, prior)
            if its_cost < cost:
                x, cost = other, its_cost
    return x


def _arm_error(kinematics: Kinematics, x: torch.Tensor, observation: Observation, camera: Camera, side: str) -> float:
    """Mean distance of an arm's trusted landmarks in units of how well they are known."""
    posed = kinematics.pose(x)
    pixels_per_metre = float(camera.K[0, 0]) / camera_distance(kinematics.parameters, camera, x)
    total, weight = 0.0, 1e-9
    for name in ("pose33", f"hand21_{side}"):
        seen = observation.sets.get(name)
        if seen is None or not isinstance(seen.table, JointLandmarks):
            continue
        trust = seen.weight
        if name == "pose33":
            trust = torch.where(torch.isin(seen.table.index, torch.tensor(_SIDES[side])), trust, 0.0)
        pixels = camera.project(kinematics.world(posed, set_points(kinematics.identity, seen)))
        error = (pixels - seen.pixels).norm(dim=-1) / (seen.sigma * pixels_per_metre)
        total, weight = total + float((error * trust).sum()), weight + float(trust.sum())
    return total / weight
