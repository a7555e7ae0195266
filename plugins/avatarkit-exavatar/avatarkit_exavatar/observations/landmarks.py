"""Terms of the objective from what was observed."""

from __future__ import annotations

import math

import torch

from avatarkit.types.body import JointLandmarks, SurfaceLandmarks
from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.points import Identity, Points, joint_points, surface_points
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.residuals import Directions, Gaps, Reprojection, Term
from avatarkit_exavatar.observations.observation import BODY_BONES, FACE_GAPS, HAND_BONES, LandmarkSet, Observation, body_points

__all__ = ["landmark_terms", "set_points"]

_FACE_SCALE = 0.06  # head heights
_DIRECTION_FINE = 0.2  # share of the weight once the pose is roughly right: the rough 3D has said its part
_TRUNK = tuple(body_points(f"{side}_hip", f"{side}_shoulder") for side in ("left", "right"))
_BODY_SCALE = 6.0  # times the table's sigma


def set_points(identity: Identity, landmarks: LandmarkSet) -> Points:
    """Return the body's points of a set."""
    table = landmarks.table
    return surface_points(identity, table) if isinstance(table, SurfaceLandmarks) else joint_points(identity, table)


def landmark_terms(
    points: dict[str, Points],
    observation: Observation,
    camera: Camera,
    distance: float,
    config: ExAvatarConfig,
    names: set[str],
    coarse: float = 1.0,
    steady: bool = False,
) -> list[Term]:
    """Reprojection of the sets in ``names`` that were seen, and what goes with them.

    Args:
        points: set name -> the body's points.
        observation: what the picture shows.
        camera: of the picture.
        distance: meters from the camera, to turn what is known in meters into pixels.
        config: options of the tracker.
        names: of the sets.
        coarse: factor on the distance at which a landmark counts as an outlier.
        steady: whether the rough 3D is that of many frames (``SteadyDepth``), which is good enough to tell how far limbs reach
            and how the trunk leans.
    """
    terms: list[Term] = []
    head = observation.head_pixels
    turn = camera.T_camera_world[:3, :3]
    pixels_per_meter = float(camera.K[0, 0]) / distance
    for name in sorted(names & points.keys()):
        seen, body = observation.sets[name], points[name]
        if name == "face478":
            used = (seen.weight > 0).nonzero()[:, 0]
            share = config.face_weight * seen.weight[used] / seen.weight.sum()
            unit = torch.full_like(share, head)
            terms.append(Reprojection(body[used], camera, seen.pixels[used], unit, share, _FACE_SCALE * coarse))
            terms.append(_gaps(body, seen, camera, head, config))
        else:
            unit = seen.sigma * pixels_per_meter
            terms.append(Reprojection(body, camera, seen.pixels, unit, config.body_weight * seen.weight, _BODY_SCALE * coarse))
        if seen.depth is not None and isinstance(seen.table, JointLandmarks):
            say = config.direction_weight * (1.0 if coarse > 1 else _DIRECTION_FINE)
            depth = config.direction_weight if steady else say
            terms.append(_directions(body, seen, seen.table, turn, say, depth))
            if name == "pose33" and steady:
                terms.append(_lean(body, seen, seen.table, turn, config.lean_weight))
    return terms


def _gaps(body: Points, seen: LandmarkSet, camera: Camera, head: float, config: ExAvatarConfig) -> Gaps:
    first, second = torch.tensor(FACE_GAPS).T
    return Gaps(
        pairs=body[torch.cat([first, second])],
        camera=camera,
        target=seen.pixels[first] - seen.pixels[second],
        unit=head,
        weight=torch.full((len(first),), config.eye_gap_weight / len(first)),
        scale=_FACE_SCALE,
    )


def _directions(
    body: Points, seen: LandmarkSet, table: JointLandmarks, turn: torch.Tensor, say: float, depth: float
) -> Directions:
    """Bones of a set whose rough 3D is known, with its say across the view and along it."""
    row = {int(number): k for k, number in enumerate(table.index)}
    bones = BODY_BONES if seen.name == "pose33" else tuple((a, b, 0.05) for a, b in HAND_BONES)
    known = [(row[a], row[b], share) for a, b, share in bones if a in row and b in row]
    start = torch.tensor([k[0] for k in known])
    end = torch.tensor([k[1] for k in known])
    share = torch.tensor([k[2] for k in known])
    return _pointing(body, seen, start, end, turn, share, say, depth)


def _lean(body: Points, seen: LandmarkSet, table: JointLandmarks, turn: torch.Tensor, say: float) -> Directions:
    """How the trunk leans forward or backward, from hips to shoulders: pixels hardly show it."""
    row = {int(number): k for k, number in enumerate(table.index)}
    pairs = [(row[a], row[b]) for a, b in _TRUNK if a in row and b in row]
    start, end = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return _pointing(body, seen, start, end, turn, torch.ones(len(pairs)), say, say)


def _pointing(
    body: Points,
    seen: LandmarkSet,
    start: torch.Tensor,
    end: torch.Tensor,
    turn: torch.Tensor,
    share: torch.Tensor,
    say: float,
    depth: float,
) -> Directions:
    """Bones between rows ``start`` and ``end`` (n,) of a set, with their shares (n,); ``turn`` (3, 3) is world to camera."""
    assert seen.depth is not None
    bone = (seen.depth[end] - seen.depth[start]) @ turn
    trust = torch.minimum(seen.score[start], seen.score[end]) ** 1.5
    weights = torch.tensor([math.sqrt(say), math.sqrt(say), math.sqrt(depth)])
    return Directions(
        bones=body[torch.cat([end, start])],
        target=bone / bone.norm(dim=-1, keepdim=True).clamp_min(1e-6),
        rows=weights[:, None] * turn,
        weight=share * trust,
    )
