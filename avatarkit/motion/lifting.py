"""Motions from 2D landmarks over time, e.g. from ``.pose`` files.

The points have MediaPipe Holistic's names. The depth in such files is unreliable, so bones of known length are tilted toward
the camera until their projected length matches. This is good enough for signing and gestures seen from the front; use a
``Tracker`` for video.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.motion.formats.pose_format import LandmarkTrack
from avatarkit.motion.pose_solver import PoseSolver, frame
from avatarkit.types.body import BodyParams, Motion

__all__ = ["landmark_motion"]

_FINGERS = {"index": "INDEX_FINGER", "middle": "MIDDLE_FINGER", "ring": "RING_FINGER", "pinky": "PINKY"}
_SURE = 0.3
_FARTHEST = 1e6  # pixels; larger coordinates are invalid
_FACE = ("33", "263", "234", "454", "4", "1", "13", "14")
_LOOKED_AT = frozenset({
    *(f"POSE_LANDMARKS:{s}_{n}" for s in ("LEFT", "RIGHT") for n in ("SHOULDER", "ELBOW", "WRIST")),
    *(f"FACE_LANDMARKS:{n}" for n in _FACE),
    *(f"{s}_HAND_LANDMARKS:{n}" for s in ("LEFT", "RIGHT") for n in ("WRIST", *(f"{f}_{k}" for f in _FINGERS.values()
      for k in ("MCP", "TIP")))),
})  # fmt: skip


def landmark_motion(track: LandmarkTrack, solver: PoseSolver, name: str, source: str) -> Motion:
    """Return the motion of arms, hands, head and mouth from tracked landmarks.

    Args:
        track: points named ``POSE_LANDMARKS:LEFT_SHOULDER``, ``LEFT_HAND_LANDMARKS:INDEX_FINGER_TIP``,
            ``FACE_LANDMARKS:13`` (number in MediaPipe's face mesh) and so on; other points are ignored.
        solver: of the body model.
        name: name of the motion.
        source: file name, for messages.

    Raises:
        InputError: the shoulders are not visible.
    """
    points = {
        n: p
        for k, n in enumerate(track.names)
        if n in _LOOKED_AT and (p := _filled(track.points[:, k], track.scores[:, k])) is not None
    }
    return _motion(points, solver, track.fps, name, source)


def _filled(xy: np.ndarray, sure: np.ndarray) -> torch.Tensor | None:
    """Return a point's track (T, 2), x right, y up, with gaps filled and jitter smoothed.

    None if the point is hardly ever visible.
    """
    seen = (sure > _SURE) & (np.abs(xy) < _FARTHEST).all(1)  # neither NaN nor infinite
    if seen.mean() < 0.1:
        return None
    t = np.arange(len(xy))
    smooth = np.stack([np.interp(t, t[seen], xy[seen, k]) for k in (0, 1)], -1)
    padded = np.pad(smooth, ((2, 2), (0, 0)), mode="edge")
    kernel = np.array([0.06, 0.24, 0.4, 0.24, 0.06])
    smooth = np.stack([np.convolve(padded[:, k], kernel, "valid") for k in (0, 1)], -1)
    return torch.from_numpy(smooth * [1, -1])


def _motion(points: Mapping[str, torch.Tensor], solver: PoseSolver, fps: float, name: str, source: str) -> Motion:
    shoulders = [points.get(f"POSE_LANDMARKS:{s}_SHOULDER") for s in ("LEFT", "RIGHT")]
    if shoulders[0] is None or shoulders[1] is None or "left_elbow" not in solver.positions:
        raise InputError(f"{source} shows no shoulders, which the motion is measured from. Use a file with shoulders and arms.")
    across = shoulders[0] - shoulders[1]
    width = float((solver.positions["left_shoulder"] - solver.positions["right_shoulder"]).norm())
    scale = width / max(float(across.norm(dim=-1).quantile(0.8)), 1e-6)  # meters per pixel
    count = len(across)
    roll = torch.atan2(across[:, 1], across[:, 0])
    upright = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    chest = _about(2, roll)
    frames = {"pelvis": upright, "spine1": _about(2, 0.3 * roll), "spine2": _about(2, 0.6 * roll), "spine3": chest}
    head, jaw = _head(points, count)
    frames |= {"neck": chest @ _half(chest, head), "head": head}
    for side in ("left", "right"):
        frames |= _arm(side, points, solver, scale, chest)
    root, joints = solver.solve(frames)
    body = solver.body
    expression = torch.zeros(count, len(body.expression_names))
    if "jawOpen" in body.expression_names:
        expression[:, body.expression_names.index("jawOpen")] = jaw.float()
    params = BodyParams(body.name, body.neutral().shape.cpu(), expression, root, torch.zeros(count, 3), joints)
    return Motion(name, fps, params)


def _about(axis: int, angle: torch.Tensor) -> torch.Tensor:
    vector = torch.zeros(len(angle), 3, dtype=torch.float64)
    vector[:, axis] = angle
    return axis_angle_to_matrix(vector)


def _half(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return axis_angle_to_matrix(0.5 * matrix_to_axis_angle(a.mT @ b))


def _head(points: Mapping[str, torch.Tensor], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return head rotations (T, 3, 3) and jawOpen (T,) from the points of the face mesh."""
    face = {n: points.get(f"FACE_LANDMARKS:{n}") for n in _FACE}
    zero = torch.zeros(count, dtype=torch.float64)
    right, left = face["33"], face["263"]
    if right is None or left is None:
        return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), zero
    eyes = left - right
    size = eyes.norm(dim=-1).clamp(min=1e-6)
    roll = torch.atan2(eyes[:, 1], eyes[:, 0])
    yaw = zero
    nose = face["4"] if face["4"] is not None else face["1"]
    if nose is not None:
        aside = ((nose - (left + right) / 2) * eyes).sum(-1) / size**2
        yaw = torch.asin((1.5 * aside).clamp(-0.9, 0.9))
    jaw = zero
    if face["13"] is not None and face["14"] is not None:
        jaw = ((face["13"] - face["14"]).norm(dim=-1) / size / 0.45 - 0.04).clamp(0, 1)
    return _about(1, yaw) @ _about(2, roll), jaw


def _lifted(xy: torch.Tensor, length: float) -> torch.Tensor:
    """Return bones (T, 3) of a known length, tilted toward the camera (+z).

    The tilt makes their projected length match the observed one.
    """
    flat = xy.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    xy = xy * (length / flat).clamp(max=1)
    z = (0.93 * length**2 - (xy**2).sum(-1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([xy, z], -1)


def _arm(
    side: str, points: Mapping[str, torch.Tensor], solver: PoseSolver, scale: float, chest: torch.Tensor
) -> dict[str, torch.Tensor]:
    s, S = side + "_", side.upper()
    joints = [points.get(f"POSE_LANDMARKS:{S}_{n}") for n in ("SHOULDER", "ELBOW", "WRIST")]
    shoulder, elbow, wrist = joints
    if shoulder is None or elbow is None:
        return {}
    hand = {n: p for n in _hand_names() if (p := points.get(f"{S}_HAND_LANDMARKS:{n}")) is not None}
    wrist = hand.get("WRIST", wrist)
    if wrist is None:
        return {}
    at = solver.positions
    upper = float((at[s + "elbow"] - at[s + "shoulder"]).norm())
    fore = solver.direction(s + "elbow", s + "wrist")
    u = _lifted((elbow - shoulder) * scale, upper)
    f = _lifted((wrist - elbow) * scale, 0.87 * upper if fore is None else float(fore.norm()))
    u, f = _in_front(u, f, at[s + "shoulder"], at["pelvis"])
    usual = torch.linalg.cross(u, chest[..., 2])
    hinge = torch.linalg.cross(u, f)
    hinge = torch.where((hinge * usual).sum(-1, keepdim=True) > 0, hinge, torch.zeros_like(hinge)) + 0.15 * usual
    out = {s + "shoulder": frame(u, hinge), s + "elbow": frame(f, hinge)}
    knuckles = [hand.get(n) for n in ("WRIST", "MIDDLE_FINGER_MCP", "INDEX_FINGER_MCP", "PINKY_MCP")]
    if s + "middle1" not in at or any(k is None for k in knuckles):
        return out
    base, middle, index, pinky = (k * scale for k in knuckles if k is not None)
    along = _lifted(middle - base, float((at[s + "middle1"] - at[s + "wrist"]).norm()))
    thumb_side = torch.cat([index - pinky, torch.zeros(len(u), 1, dtype=torch.float64)], -1)
    width = float((at[s + "index1"] - at[s + "pinky1"]).norm())
    edge_on = (1 - thumb_side.norm(dim=-1, keepdim=True) / width).clamp(0, 1)
    neutral = torch.nn.functional.normalize(torch.linalg.cross(hinge, f), dim=-1)
    out[s + "wrist"] = frame(along, thumb_side + edge_on**2 * width * neutral)
    return out | _fingers(side, {n: p * scale for n, p in hand.items()}, solver, out[s + "wrist"])


def _in_front(
    u: torch.Tensor, f: torch.Tensor, shoulder: torch.Tensor, pelvis: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tilt upper arm and forearm (T, 3) forward if the hand would be inside the trunk."""
    arm = u.norm(dim=-1, keepdim=True) + f.norm(dim=-1, keepdim=True)
    wrist = (shoulder - pelvis) + u + f
    half = 1.4 * (shoulder - pelvis)[0].abs()
    beside = ((wrist[:, :1].abs() - half) / (0.25 * half)).clamp(0, 1)
    above = (wrist[:, 1:2] / 0.1).clamp(0, 1)
    missing = (0.42 * arm * (1 - beside) * above - u[:, 2:] - f[:, 2:]).clamp(min=0)
    forward = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    length = [v.norm(dim=-1, keepdim=True) for v in (u, f)]
    u, f = u + 0.6 * missing * forward, f + 0.6 * missing * forward
    return length[0] * torch.nn.functional.normalize(u, dim=-1), length[1] * torch.nn.functional.normalize(f, dim=-1)


def _hand_names() -> list[str]:
    return ["WRIST", *(f"{f}_{k}" for f in _FINGERS.values() for k in ("MCP", "TIP"))]


def _fingers(side: str, hand: Mapping[str, torch.Tensor], solver: PoseSolver, wrist: torch.Tensor) -> dict[str, torch.Tensor]:
    """Curl fingers until their length relative to the palm matches the observed one."""
    at, out = solver.positions, {}
    palm_true = float((at[f"{side}_middle1"] - at[f"{side}_wrist"]).norm())
    palm = (hand["MIDDLE_FINGER_MCP"] - hand["WRIST"]).norm(dim=-1)
    foreshortened = (palm / palm_true).clamp(0.45, 1)
    radial, along = wrist[..., 0], wrist[..., 1]
    inward = torch.linalg.cross(along, radial) * (1 if side == "left" else -1)
    for finger, label in _FINGERS.items():
        names = [f"{side}_{finger}{k}" for k in (1, 2, 3)]
        if f"{label}_TIP" not in hand or f"{label}_MCP" not in hand or names[0] not in at:
            continue
        length = sum(float((at[b] - at[a]).norm()) for a, b in pairwise(names)) * 1.5
        seen = (hand[f"{label}_TIP"] - hand[f"{label}_MCP"]).norm(dim=-1) / (length * foreshortened)
        curl = ((1.0 - seen) / 0.75).clamp(0, 1)
        bend = torch.zeros_like(curl)
        for name, most in zip(names, (1.25, 1.65, 1.0), strict=True):
            bend = bend + most * curl
            out[name] = frame(bend.cos()[:, None] * along + bend.sin()[:, None] * inward, radial)
    return out
