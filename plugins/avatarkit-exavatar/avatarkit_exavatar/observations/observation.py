"""Landmarks of a picture as weighted targets of the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from avatarkit.interfaces import BodyModel
from avatarkit.types.body import JointLandmarks, SurfaceLandmarks
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.landmark_sets import LAYOUTS
from avatarkit.utils.sequences import LazySequence

__all__ = [
    "BODY_BONES",
    "FACE_GAPS",
    "HAND_BONES",
    "LandmarkSet",
    "Observation",
    "Observations",
    "body_points",
    "face_weights",
    "observe",
    "thinned",
    "trunk_only",
]

_FACE, _BODY = LAYOUTS["face478"].regions, LAYOUTS["pose33"].regions
_EYES = _FACE["right_eye"] + _FACE["left_eye"]
_LIPS = _FACE["inner_lips"] + _FACE["outer_lips"]
FACE_GAPS = tuple(zip(_FACE["upper_rims"], _FACE["lower_rims"], strict=True))
"""Pairs of points of lids and lips that open."""


def body_points(*regions: str) -> list[int]:
    """Return the numbers of points of ``pose33`` in some regions, both sides of ``left_`` and ``right_`` where none is named."""
    named = [name for region in regions for name in ((region,) if region in _BODY else (f"left_{region}", f"right_{region}"))]
    return [number for name in named for number in _BODY[name]]


_HINT = 0.15  # what the guess of a hidden point is worth, where it is on the person
_GUESSED = 0.25  # score up to which a wrist is nothing but a guess: that forearm hangs at rest
_JUST_OUT = 0.4  # what a wrist of a video is worth that has left the picture while its elbow is seen
_AT_EDGE = 0.4  # what the points of a hand are worth that the picture's edge cuts off
_ELBOW_SEEN = 0.5  # score of an elbow that tells where its wrist has gone
_ELBOW_BEYOND = 0.15  # head heights outside the picture from which an elbow leaves its hand to guessing
_BEYOND = 0.5  # head heights outside the picture at which a point is a mere guess
_SEEN, _LEG_SEEN = 0.25, 0.5  # trust from which a part counts as seen
_HEAD_METERS = 0.163  # the measure of ``head_pixels`` on an average adult
_TORSO_METERS = 0.50  # middle of the shoulders to middle of the hips
_BONES = (
    ("left_shoulder", "left_elbow", 1.0), ("left_elbow", "left_wrist", 1.0), ("right_shoulder", "right_elbow", 1.0),
    ("right_elbow", "right_wrist", 1.0), ("left_hip", "left_knee", 1.0), ("left_knee", "left_ankle", 1.0),
    ("right_hip", "right_knee", 1.0), ("right_knee", "right_ankle", 1.0), ("right_shoulder", "left_shoulder", 1.0),
    ("right_hip", "left_hip", 0.5),
)  # fmt: skip
BODY_BONES = tuple((body_points(start)[0], body_points(end)[0], trust) for start, end, trust in _BONES)
"""Bones of ``pose33`` whose direction the detector's 3D gives, with their share of trust."""
HAND_BONES = (*((a, a + 1) for f in range(5) for a in range(4 * f + 1, 4 * f + 4)), (0, 5), (0, 9), (0, 17))


@dataclass(frozen=True)
class LandmarkSet:
    """One set of landmarks that was seen and that the body model knows.

    Attributes:
        name: of the set. table: where the points lie on the body.
        pixels: (n, 2). weight: (n,) trust, 0 to 1 (more where detail matters). sigma: (n,) meters.
        score: (n,) the detector's own confidence.
        depth: (n, 3) rough positions in camera axes, or None.
    """

    name: str
    table: SurfaceLandmarks | JointLandmarks
    pixels: torch.Tensor
    weight: torch.Tensor
    sigma: torch.Tensor
    score: torch.Tensor
    depth: torch.Tensor | None


@dataclass(frozen=True)
class Observation:
    """What a picture says.

    Attributes:
        sets: name -> landmarks. head_pixels: diagonal of the face's box / 1.45, or its estimate without a face.
        width, height: of the picture. visible: as in ``Quality.visible``.
        hidden: names of pose groups below which the body is not in the picture, or behind something.
        truncated: hands that begin in the picture and end beyond its edge.
    """

    sets: dict[str, LandmarkSet]
    head_pixels: float
    width: int
    height: int
    visible: dict[str, bool]
    hidden: tuple[str, ...]
    truncated: tuple[str, ...] = ()


class Observations(LazySequence[Observation | None]):
    """The observations of a video's frames, computed on access, so that long videos need no memory for them.

    Args:
        frames: landmarks; None for frames without a person.
        make: turns landmarks into observations.
    """

    def __init__(self, frames: Sequence[Keypoints | None], make: Callable[[Keypoints], Observation]) -> None:
        self._frames, self._make = frames, make

    def __len__(self) -> int:
        return len(self._frames)

    def at(self, index: int) -> Observation | None:
        """Return what frame ``index`` shows."""
        keypoints = self._frames[index]
        if keypoints is None or not keypoints.points.keys() & {"face478", "pose33"}:
            return None
        return self._make(keypoints)


def face_weights(count: int, sigma: torch.Tensor) -> torch.Tensor:
    """(n,) importance of the 478 face points: eyes and lips most, the sliding outline least."""
    weight = (0.002 / sigma.clamp_min(0.002)).square()
    weight[list(_FACE["outline"])] *= 0.5
    weight[list(_EYES)] *= 3.0
    weight[list(_LIPS)] *= 3.0
    if count > 468:
        weight[list(_FACE["iris_rings"])] = 0.0
        weight[list(_FACE["irises"])] = 6.0
    return weight


def observe(keypoints: Keypoints, body: BodyModel, alpha: torch.Tensor | None = None) -> Observation:
    """Weighs what was detected.

    Args:
        keypoints: landmarks of the picture.
        body: the body model.
        alpha: (H, W) matte of a photo; body points off the person get no weight, since detectors guess hidden limbs. None for
            the frames of a video.
    """
    head = _head_pixels(keypoints)
    sets: dict[str, LandmarkSet] = {}
    for name in ("face478", "pose33", "hand21_left", "hand21_right"):
        table = body.landmarks(name)
        if table is None or not keypoints.has(name):
            continue
        pixels, score = keypoints.points[name], keypoints.scores[name]
        trust = _body_trust(keypoints, alpha, head) if name == "pose33" else score
        depth = keypoints.points_3d.get(name)
        rows = table.index.numpy() if isinstance(table, JointLandmarks) else np.arange(len(table.triangles))
        weight = torch.from_numpy(np.ascontiguousarray(trust[rows], np.float32))
        sigma = table.sigma.clamp_min(0.010 if name == "pose33" else 0.005)
        if name == "face478":
            weight = weight * face_weights(len(rows), table.sigma)
        sets[name] = LandmarkSet(
            name=name,
            table=table,
            pixels=torch.from_numpy(np.ascontiguousarray(pixels[rows], np.float32)),
            weight=weight,
            sigma=sigma,
            score=torch.from_numpy(np.ascontiguousarray(score[rows], np.float32)),
            depth=None if depth is None else torch.from_numpy(np.ascontiguousarray(depth[rows], np.float32)),
        )
    sides = ("left", "right") if alpha is not None else ()
    truncated = tuple(f"{side}_hand" for side in sides if _cut_off(keypoints, side))
    return Observation(sets, head, keypoints.width, keypoints.height, *_seen_parts(keypoints, sets, truncated), truncated)


def thinned(observation: Observation) -> Observation:
    """Return the same with fewer face points: all of eyes, lips and outline, a quarter of the rest."""
    face = observation.sets.get("face478")
    if face is None or not isinstance(face.table, SurfaceLandmarks):
        return observation
    weight = face.weight.clone()
    keep = set(_FACE["outline"] + _EYES + _LIPS + _FACE["irises"]) | set(range(0, 468, 4))
    weight[[k for k in range(len(weight)) if k not in keep]] = 0.0
    return replace(observation, sets={**observation.sets, "face478": replace(face, weight=weight)})


def trunk_only(observation: Observation) -> Observation:
    """Return the same with head, shoulders and hips alone, to find where the person stands."""
    pose = observation.sets.get("pose33")
    if pose is None or not isinstance(pose.table, JointLandmarks):
        return observation
    weight = torch.where(torch.isin(pose.table.index, torch.tensor(body_points("head", "shoulder", "hip"))), pose.weight, 0.0)
    return replace(observation, sets={**observation.sets, "pose33": replace(pose, weight=weight)})


def _head_pixels(keypoints: Keypoints) -> float:
    if keypoints.has("face478"):
        face = keypoints.points["face478"]
        return float(np.linalg.norm(face.max(0) - face.min(0))) / 1.45
    if keypoints.has("pose33"):
        pose = keypoints.points["pose33"]
        shoulders, hips = pose[body_points("shoulder")], pose[body_points("hip")]
        torso = np.linalg.norm(shoulders.mean(0) - hips.mean(0))
        return float(max(torso, np.linalg.norm(shoulders[0] - shoulders[1]))) * _HEAD_METERS / _TORSO_METERS
    return 0.2 * keypoints.height


def _body_trust(keypoints: Keypoints, alpha: torch.Tensor | None, head: float) -> np.ndarray:
    """(33,) weights of the body points."""
    points = keypoints.points["pose33"]
    score = keypoints.scores["pose33"]
    still = alpha is not None  # a photo; in a video what comes and goes at the edge would start and stop an arm
    trust = np.clip((score - 0.1) / 0.9, 0.0, 1.0) ** 1.5
    trust = np.maximum(trust, _HINT)
    column, row = np.floor(points).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < keypoints.width) & (row < keypoints.height)
    beyond = np.maximum(np.maximum(-points, points - (keypoints.width, keypoints.height)), 0.0).max(1)
    near = np.clip(1.0 - beyond / (_BEYOND * head), 0.1, 1.0)
    trust = trust * near  # a shoulder just below the picture is no mere guess
    if alpha is not None:
        away = ndimage.distance_transform_edt(alpha.numpy() < 0.3)
        off = np.zeros(len(points))
        off[inside] = away[row[inside], column[inside]]
        trust = np.where(off > 0.12 * head, 0.03 * trust, trust)
    else:
        trust = np.where(score < 0.3, 0.1 * trust, trust)
    if keypoints.has("face478"):
        head_points = body_points("head")  # the nose first
        trust[head_points] *= np.where(np.arange(len(head_points)) == 0, 0.2, 0.5)  # the face says it better
    if trust[body_points("knee")].max() <= _LEG_SEEN:
        trust[body_points("knee", "ankle", "heel", "toes")] = 0.0  # below a table or the crop legs are guesses: they stay at rest
    for side in ("left", "right"):
        elbow, wrist, *knuckles = body_points(f"{side}_elbow", f"{side}_wrist", f"{side}_knuckles")
        end = [wrist, *knuckles]
        # A hand that its own detector has not found is at best half seen: believe the wrist, not the fingers.
        trust[knuckles] *= 0.1 if keypoints.has(f"hand21_{side}") else 0.25
        if keypoints.has(f"hand21_{side}"):
            trust[wrist] *= 0.1
        elif score[wrist] < _GUESSED or (still and beyond[elbow] > _ELBOW_BEYOND * head):
            trust[end] = 0.0
            if not still and beyond[wrist] > 0 and score[elbow] > _ELBOW_SEEN:
                trust[wrist] = _JUST_OUT * near[wrist]  # it has just left the picture, and does not turn back
        elif still and _cut_off(keypoints, side):
            trust[end] = np.maximum(trust[end], _AT_EDGE)  # detectors doubt what is close to the edge
    return trust.astype(np.float32)


def _cut_off(keypoints: Keypoints, side: str) -> bool:
    """Whether the hand of a side begins in the picture and ends beyond its edge."""
    if not keypoints.has("pose33") or keypoints.has(f"hand21_{side}"):
        return False
    first, pinky, index, _ = body_points(f"{side}_wrist", f"{side}_knuckles")
    points, score = keypoints.points["pose33"], keypoints.scores["pose33"]
    wrist = points[first]
    tips = wrist + 2.0 * (points[[pinky, index]].mean(0) - wrist)

    def within(point: np.ndarray) -> bool:
        return bool(((point >= 0) & (point < (keypoints.width, keypoints.height))).all())

    return bool(score[first] >= _GUESSED) and within(wrist) and not within(tips)


def _seen_parts(
    keypoints: Keypoints, sets: dict[str, LandmarkSet], truncated: tuple[str, ...]
) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Which parts of the person are in the picture, and pose groups below which there is nothing to see."""
    trust = np.zeros(33)
    if "pose33" in sets:
        table = sets["pose33"].table
        assert isinstance(table, JointLandmarks)
        trust[table.index.numpy()] = sets["pose33"].weight.numpy()
    visible = {"face": "face478" in sets}
    hidden: list[str] = []
    for side in ("left", "right"):
        elbow, wrist = body_points(f"{side}_elbow", f"{side}_wrist")
        hand = f"hand21_{side}" in sets
        lower = hand or f"{side}_hand" in truncated or bool(trust[wrist] > _SEEN)
        upper = bool(trust[elbow] > _SEEN)
        visible[f"{side}_hand"], visible[f"{side}_arm"] = hand, upper and lower
        if not upper and not lower:
            hidden += [f"{side}_upper_arm_twist", f"{side}_elbow"]
        elif not hand:
            hidden += [f"{side}_forearm_twist", f"{side}_wrist"]
    knee, foot = trust[body_points("knee")], np.minimum(trust[body_points("ankle")], trust[body_points("toes")])
    visible["legs"], visible["feet"] = bool(knee.max() > _LEG_SEEN), bool(foot.max() > _SEEN)
    if not visible["legs"]:
        hidden += ["left_hip", "right_hip"]
    elif not visible["feet"]:
        hidden += ["left_ankle", "right_ankle"]
    return visible, tuple(hidden)
