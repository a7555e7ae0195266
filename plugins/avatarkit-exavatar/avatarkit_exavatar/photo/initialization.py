"""Finds the pose of a picture from nothing: trunk and head, then arms and legs, then everything."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points, near_joints
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.residuals import Term
from avatarkit_exavatar.fitting.self_collision import clearance
from avatarkit_exavatar.fitting.solver import Prior, minimize, total_cost
from avatarkit_exavatar.observations.landmarks import landmark_terms, set_points
from avatarkit_exavatar.observations.observation import Observation, body_points, trunk_only
from avatarkit_exavatar.photo.limbs import lay_limbs

__all__ = ["camera_distance", "find_pose", "starting_point"]

_HEAD_METERS = 0.163
_PRONATIONS = (-0.9, 0.9)  # turns of the forearm, radians
_TRIAL_STEPS = 15
_FIRM = 4.0  # factor on the rough depth while starts are compared


def camera_distance(parameters: Parameters, camera: Camera, x: torch.Tensor) -> float:
    """Meters from the camera to the root joint, along its view."""
    return max(float(camera.to_camera(x[None, parameters.layout.translation])[0, 2]), 0.1)


def starting_point(parameters: Parameters, observation: Observation, camera: Camera) -> torch.Tensor:
    """(P,) upright at the distance that the head's size tells, turned as the shoulders are."""
    body = parameters.body
    shape = body.neutral().shape if parameters.shape is None else parameters.shape
    x = parameters.encode(body.neutral())
    x[parameters.layout.pose] = parameters.anatomy.mean.flatten()
    distance = float(camera.K[0, 0]) * _HEAD_METERS / observation.head_pixels
    name = "face478" if "face478" in observation.sets else "pose33"
    seen = observation.sets[name]
    if name == "pose33":
        trust = seen.weight[:, None] + 1e-3
        center = (seen.pixels * trust).sum(0) / trust.sum()
    else:
        trust = torch.ones(len(seen.pixels), 1)
        center = seen.pixels.mean(0)
    points = set_points(Identity(body, shape, False), seen).rest
    middle = (points * trust).sum(0) / trust.sum()
    root = body.skeleton(shape).positions[0]
    ray = torch.linalg.inv(camera.K) @ torch.cat([center, torch.ones(1)])
    place = torch.linalg.inv(camera.T_camera_world) @ torch.cat([ray * distance, torch.ones(1)])
    pose33 = observation.sets.get("pose33")
    if pose33 is not None and pose33.depth is not None:
        row = {int(k): i for i, k in enumerate(pose33.table.index)}  # type: ignore[union-attr]
        left, right = body_points("shoulder")
        across = (pose33.depth[row[left]] - pose33.depth[row[right]]) @ camera.T_camera_world[:3, :3]
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
    x = minimize(kinematics, x, terms(trunk_only(observation), whole, 20.0), prior, trunk, steps)
    x = lay_limbs(kinematics, x, observation, camera)
    x = minimize(kinematics, x, terms(observation, set(points), 5.0), prior, limbs, steps)
    for side in ("left", "right"):
        firm = replace(config, direction_weight=_FIRM * config.direction_weight)
        arm = [
            *landmark_terms(
                points, observation, camera, camera_distance(parameters, camera, x), firm, {"pose33", f"hand21_{side}"}, 3.0
            ),
            clearance(kinematics.identity, config.clearance_weight),
        ]
        x = _best_arm(kinematics, x, arm, observation, camera, prior, side)
    return minimize(kinematics, x, terms(observation, set(points), 3.0), prior, everything, steps)


def _best_arm(
    kinematics: Kinematics,
    x: torch.Tensor,
    terms: list[Term],
    observation: Observation,
    camera: Camera,
    prior: Prior,
    side: str,
) -> torch.Tensor:
    """(P,) with one arm as good as several starts make it: pixels do not tell depth, nor palm from back of the hand.

    A hand that was found over the trunk lies before it.
    """
    parameters = kinematics.parameters
    free = torch.zeros(parameters.layout.size, dtype=torch.bool)
    free[parameters.layout.pose] = parameters.arm(side) | parameters.fingers(side)
    starts = [x, torch.where(free, prior.mean, x)]
    starts.append(lay_limbs(kinematics, x, observation, camera, (f"{side}_shoulder",)))
    twist = parameters.group_slice(f"{side}_forearm_twist")
    if twist is not None and f"hand21_{side}" in observation.sets:
        turned = []
        for start in starts:
            for angle in _PRONATIONS:
                other = start.clone()
                other[twist] = torch.tensor([0.0, 0.0, angle])
                turned.append(other)
        starts += turned
    best, least = x, (True, math.inf)
    for start in starts:
        other = minimize(kinematics, start, terms, prior, free, _TRIAL_STEPS)
        behind = f"hand21_{side}" in observation.sets and _behind_trunk(kinematics, other, camera, side)
        cost = behind, float(total_cost(kinematics, kinematics.pose(other), terms, prior))
        if cost < least:
            best, least = other, cost
    return best


def _behind_trunk(kinematics: Kinematics, x: torch.Tensor, camera: Camera, side: str) -> bool:
    """Whether the hand of a pose (P,) lies behind the trunk, seen from the camera."""
    names = [f"{end}_{part}" for part in ("shoulder", "hip") for end in ("left", "right")]
    first = {g.name: g.joints[0] for g in kinematics.body.pose_groups}
    if any(name not in first for name in (*names, f"{side}_middle3")):
        return False
    ends = near_joints(kinematics.identity, [first[name] for name in (*names, f"{side}_middle3")])
    place = kinematics.world(kinematics.pose(x), ends)
    pixels, depth = camera.project(place), camera.to_camera(place)[:, 2]
    # where the hand lies between shoulders and hips, and between left and right there
    top, bottom = pixels[:2].mean(0), pixels[2:4].mean(0)
    down = float((pixels[4] - top) @ (bottom - top) / (bottom - top).square().sum().clamp(min=1e-6))
    left, right = (pixels[k] + down * (pixels[k + 2] - pixels[k]) for k in (0, 1))
    across = float((pixels[4] - left) @ (right - left) / (right - left).square().sum().clamp(min=1e-6))
    middle = depth[:2].mean() + down * (depth[2:4].mean() - depth[:2].mean())
    return 0.0 < down < 1.0 and 0.0 < across < 1.0 and bool(depth[4] > middle)
