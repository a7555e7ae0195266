"""Motions from glTF files: an animation of a skeleton, such as Mixamo's, and the humanoids of VRM and VRMA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from avatarkit.errors import InputError
from avatarkit.motion.formats.bvh import MOST_FRAMES
from avatarkit.motion.formats.gltf import Gltf
from avatarkit.motion.reading import MotionInfo, Reading
from avatarkit.motion.skeleton import recognize_rig
from avatarkit.motion.source_skeleton import SourceSkeleton
from avatarkit.types.body import Motion

__all__ = ["gltf_motion"]

_RATE = 30.0  # frames per second of animations whose keys are far apart
_RATES = (8.0, 240.0)  # of keys that are frames
_KEY = 1e-4  # seconds; times of keys are rounded to single precision
_MOST_MATRICES = 2_000_000  # limit of frames times nodes
_HANDS = {"thumb": ("Metacarpal", "Proximal", "Distal")} | dict.fromkeys(
    ("index", "middle", "ring", "little"), ("Proximal", "Intermediate", "Distal")
)  # fmt: skip
_HUMANOID = {  # bone of VRM 1.0 -> SMPL-X joint
    "hips": "pelvis", "spine": "spine1", "chest": "spine2", "upperChest": "spine3", "neck": "neck", "head": "head", "jaw": "jaw",
    **{
        f"{side}{bone}": f"{side}_{joint}"
        for side in ("left", "right")
        for bone, joint in {
            "Shoulder": "collar", "UpperArm": "shoulder", "LowerArm": "elbow", "Hand": "wrist", "UpperLeg": "hip",
            "LowerLeg": "knee", "Foot": "ankle", "Toes": "foot", "Eye": "eye_smplhf",
            **{
                f"{finger.capitalize()}{phalanx}": f"{'pinky' if finger == 'little' else finger}{k}"
                for finger, phalanges in _HANDS.items()
                for k, phalanx in enumerate(phalanges, start=1)
            },
        }.items()
    },
}  # fmt: skip
_THUMBS = {"Proximal": "Metacarpal", "Intermediate": "Proximal"}  # VRM 0 -> VRM 1.0
_PRESETS: dict[str, dict[str, float]] = {  # expression of VRM -> facial actions
    "aa": {"jawOpen": 0.7}, "oh": {"jawOpen": 0.5, "mouthFunnel": 0.6}, "ou": {"jawOpen": 0.2, "mouthPucker": 0.8},
    "ee": {"jawOpen": 0.2, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5},
    "ih": {"jawOpen": 0.3, "mouthStretchLeft": 0.3, "mouthStretchRight": 0.3},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0}, "happy": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
}  # fmt: skip


@dataclass(frozen=True)
class _Curve:
    """Keys of one property of one node.

    Attributes:
        times: (n,) seconds, ascending.
        values: (n, width); for cubic splines (n, 3, width): tangent, value, tangent.
        kind: LINEAR, STEP or CUBICSPLINE.
    """

    times: np.ndarray
    values: np.ndarray
    kind: str

    def at(self, t: np.ndarray, turns: bool = False) -> np.ndarray:
        """Return the values at times (T,), (T, width); ``turns`` = they are quaternions."""
        last = len(self.times) - 1
        t = t.clip(self.times[0], self.times[-1])
        k = (np.searchsorted(self.times, t, side="right") - 1).clip(0, max(0, last - 1))
        points = self.values[:, 1] if self.kind == "CUBICSPLINE" else self.values
        if not last:
            return np.repeat(points, len(t), 0)
        if self.kind == "STEP":
            return points[(np.searchsorted(self.times, t + _KEY, side="right") - 1).clip(0, last)]
        step = (self.times[k + 1] - self.times[k])[:, None]
        s = (t[:, None] - self.times[k, None]) / step
        if self.kind == "CUBICSPLINE":
            out, into = self.values[k, 2] * step, self.values[k + 1, 0] * step
            a, b = points[k], points[k + 1]
            return (2 * s**3 - 3 * s**2 + 1) * a + (s**3 - 2 * s**2 + s) * out + (3 * s**2 - 2 * s**3) * b + (s**3 - s**2) * into
        if turns:
            return Slerp(self.times, Rotation.from_quat(points))(t).as_quat()
        return points[k] * (1 - s) + points[k + 1] * s


def gltf_motion(reading: Reading) -> tuple[Motion, MotionInfo]:
    """Read the first animation of a glTF file that turns joints of its skeleton.

    glTF is y up. The skin's bind pose is the rest pose; without a skin, the nodes' own.

    Raises:
        InputError: it is damaged, has no animation, or its skeleton is not recognized.
    """
    file = Gltf(reading.path)
    animations = file.data.get("animations") or []
    if not animations:
        raise InputError(f"{file.name} has no animation. Export it with one, or use a BVH file.")
    try:
        joints, rig, rest_of = _skeleton(file, reading)
        played = next((k for k, a in enumerate(animations) if _turns(a, set(joints.values()))), 0)
        curves = _curves(file, animations[played])
        t, fps = _times(file, curves, len(file.parents))
        source = _source(file, joints, rest_of, curves, t, fps)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise file.damaged() from error
    notes = []
    if len(animations) > 1:
        name = " ".join(str(animations[played].get("name", ""))[:200].split())
        which = f"number {played + 1}" + f" ({name})" * bool(name)
        notes.append(f"{file.name} has {len(animations)} animations; {which} is played.")
    names = {n: _node_name(file, j) for n, j in joints.items()}
    upright = reading if reading.up is not None else replace(reading, up="y")
    motion, info = upright.retargeted(source, "glTF", rig, names, notes=notes)
    if reading.up is None:
        info = replace(info, up=replace(info.up, reason="as in all glTF files"))
    return motion, info


def _turns(animation: Mapping[str, Any], joints: set[int]) -> bool:
    """Return whether an animation rotates one of the nodes."""
    targets = [channel["target"] for channel in animation["channels"]]
    return any(target["path"] == "rotation" and target.get("node") in joints for target in targets)


def _node_name(file: Gltf, node: int) -> str:
    return str(file.data["nodes"][node].get("name", f"node {node}"))[:200]


def _curves(file: Gltf, animation: Mapping[str, Any]) -> dict[tuple[int, str], _Curve]:
    """Return (node, property) -> curve."""
    found: dict[tuple[int, str], _Curve] = {}
    for channel in animation["channels"]:
        node, path = channel["target"].get("node"), channel["target"]["path"]
        sampler = animation["samplers"][channel["sampler"]]
        if node is None or not 0 <= node < len(file.parents) or path not in ("rotation", "translation", "scale", "weights"):
            continue
        times, values = file.array(sampler["input"]), file.array(sampler["output"])
        kind = sampler.get("interpolation", "LINEAR")
        parts = 3 if kind == "CUBICSPLINE" else 1
        width = {"rotation": 4, "translation": 3, "scale": 3}.get(path, values.size // (len(times) * parts))
        if times.ndim != 1 or not (np.diff(times) > 0).all() or values.size != len(times) * parts * width or not width:
            raise file.damaged()
        values = values.reshape((len(times), 3, width) if parts == 3 else (len(times), width))
        if path == "rotation" and not (np.linalg.norm(values[:, 1] if parts == 3 else values, axis=-1) > 1e-6).all():
            raise file.damaged()
        found[node, path] = _Curve(times, values, kind)
    if not found:
        raise InputError(f"{file.name} has an animation without movement. Export it again.")
    return found


def _times(file: Gltf, curves: Mapping[tuple[int, str], _Curve], nodes: int) -> tuple[np.ndarray, float]:
    """Return the times (T,) at which the animation is read, and frames per second."""
    start = min(c.times[0] for c in curves.values())
    end = max(c.times[-1] for c in curves.values())
    steps = np.concatenate([np.diff(c.times) for (_, path), c in curves.items() if path == "rotation"] or [np.zeros(0)])
    rate = 1 / float(np.median(steps)) if len(steps) else _RATE
    rate = float(round(rate)) if abs(rate - round(rate)) < 0.02 else rate
    fps = rate if _RATES[0] <= rate <= _RATES[1] else _RATE
    count = round((end - start) * fps) + 1
    if not 0 <= start <= end or count > MOST_FRAMES or count * nodes > _MOST_MATRICES:
        raise InputError(f"{file.name} has {count} frames of {nodes} nodes, which is too long. Cut it into parts.")
    return start + np.arange(count) / fps, fps


def _skeleton(file: Gltf, reading: Reading) -> tuple[dict[str, int], str, dict[int, np.ndarray]]:
    """Return SMPL-X joint -> node, the rig's name, and node -> (4, 4) inverse bind matrix where a skin has one."""
    skins = file.data.get("skins") or []
    skin = max(skins, key=lambda s: len(s["joints"]), default=None)
    inverse: dict[int, np.ndarray] = {}
    if skin is not None and "inverseBindMatrices" in skin:
        matrices = file.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4)
        inverse = {j: M.T for j, M in zip(skin["joints"], matrices, strict=True)}
    bones = _humanoid(file.data)
    if bones and not reading.joint_map:
        found = {_HUMANOID[b]: j for b, j in bones.items() if b in _HUMANOID and 0 <= j < len(file.parents)}
        for below in ("spine2", "spine1"):  # VRM's chests are optional; the last one carries the shoulders
            if "spine3" not in found and below in found:
                found["spine3"] = found.pop(below)
        return found, "VRM", inverse
    chosen = set(skin["joints"]) if skin is not None else set(range(len(file.parents)))
    for j in list(chosen):
        while file.parents[j] >= 0:
            j = file.parents[j]
            chosen.add(j)
    order = sorted(chosen)
    at = {j: k for k, j in enumerate(order)}
    names = [_node_name(file, j) for j in order]
    recognized = recognize_rig(names, [at.get(file.parents[j], -1) for j in order], reading.joint_map)
    return {n: order[k] for n, k in recognized.joints.items()}, recognized.rig, inverse


def _humanoid(data: Mapping[str, Any]) -> dict[str, int]:
    """Return bone of VRM 1.0 -> node, from the extensions of VRMA, VRM 1.0 and VRM 0."""
    extensions = data.get("extensions") or {}
    for name in ("VRMC_vrm_animation", "VRMC_vrm"):
        if name in extensions:
            return {bone: int(v["node"]) for bone, v in extensions[name]["humanoid"]["humanBones"].items()}
    if "VRM" not in extensions:
        return {}
    out = {}
    for entry in extensions["VRM"]["humanoid"]["humanBones"]:
        bone = str(entry["bone"])
        for old, new in _THUMBS.items():
            if "Thumb" in bone and bone.endswith(old):
                bone = bone.removesuffix(old) + new
                break
        out[bone] = int(entry["node"])
    return out


def _source(
    file: Gltf,
    joints: Mapping[str, int],
    inverse: Mapping[int, np.ndarray],
    curves: Mapping[tuple[int, str], _Curve],
    t: np.ndarray,
    fps: float,
) -> SourceSkeleton:
    needed: set[int] = set()
    for j in joints.values():
        while j >= 0 and j not in needed:
            needed.add(j)
            j = file.parents[j]
    moving, still = _worlds(file, needed, curves, t), _worlds(file, needed, {}, t[:1])
    bind = {j: np.linalg.inv(inverse[j]) if j in inverse else None for j in joints.values()}
    whole = all(M is not None for M in bind.values())  # otherwise rest poses of two kinds would be mixed
    rest: dict[str, torch.Tensor] = {}
    turns: dict[str, torch.Tensor] = {}
    factor = 1.0
    for name, j in joints.items():
        M = bind[j]
        zero = M if whole and M is not None else still[j][0]
        change = moving[j][:, :3, :3] @ np.linalg.inv(zero[:3, :3])
        size = np.cbrt(np.linalg.det(change))
        if not (size > 1e-9).all():
            raise file.damaged()
        if name == "pelvis":
            factor = 1 / float(size[0])
        rest[name] = torch.from_numpy(zero[:3, 3].copy())
        turns[name] = torch.from_numpy(Rotation.from_matrix(change / size[:, None, None]).as_matrix())
    for name, j in joints.items():  # the ends of hands, feet and fingers, where there are further nodes
        children = [k for k, parent in enumerate(file.parents) if parent == j]
        if len(children) == 1 and not whole:
            tip = still[j][0] @ np.append(file.local(children[0])[0], 1.0)
            rest.setdefault(name + "_tip", torch.from_numpy(tip[:3].copy()))
    path = torch.from_numpy(moving[joints["pelvis"]][:, :3, 3].copy()) * factor if "pelvis" in joints else None
    return SourceSkeleton(file.name, rest, turns, path, fps, _expression(file, curves, t))


def _worlds(
    file: Gltf, nodes: set[int], curves: Mapping[tuple[int, str], _Curve], t: np.ndarray
) -> dict[int, np.ndarray]:
    """Return node -> (T, 4, 4) to the world, for nodes whose parents are among them."""
    worlds: dict[int, np.ndarray] = {}

    def world(j: int) -> np.ndarray:
        if j not in worlds:
            place, turn, scale = (np.broadcast_to(v, (len(t), len(v))) for v in file.local(j))
            place = curves[j, "translation"].at(t) if (j, "translation") in curves else place
            turn = curves[j, "rotation"].at(t, turns=True) if (j, "rotation") in curves else turn
            scale = curves[j, "scale"].at(t) if (j, "scale") in curves else scale
            M = np.zeros((len(t), 4, 4))
            M[:, :3, :3] = Rotation.from_quat(turn).as_matrix() * scale[:, None]
            M[:, :3, 3], M[:, 3, 3] = place, 1.0
            worlds[j] = M if file.parents[j] < 0 else worlds[file.parents[j]] @ M
        return worlds[j]

    for j in nodes:
        chain: list[int] = []
        while j >= 0 and j not in worlds:
            chain.append(j)
            j = file.parents[j]
        for k in chain[::-1]:
            world(k)
    return worlds


def _expression(file: Gltf, curves: Mapping[tuple[int, str], _Curve], t: np.ndarray) -> dict[str, torch.Tensor]:
    """Return facial action -> (T,), from VRMA's expressions and from morph targets with names."""
    out: dict[str, np.ndarray] = {}

    def add(name: str, curve: np.ndarray, shares: Mapping[str, float]) -> None:
        for action, share in shares.items():
            out[action] = out.get(action, 0.0) + share * curve

    found = ((file.data.get("extensions") or {}).get("VRMC_vrm_animation") or {}).get("expressions") or {}
    for group in ("preset", "custom"):
        for name, entry in (found.get(group) or {}).items():
            if (entry["node"], "translation") in curves:
                add(name, curves[entry["node"], "translation"].at(t)[:, 0], _PRESETS.get(name, {name: 1.0}))
    for (node, path), curve in curves.items():
        mesh = file.data["nodes"][node].get("mesh") if path == "weights" else None
        names: Sequence[str] = [] if mesh is None else (file.data["meshes"][mesh].get("extras") or {}).get("targetNames") or []
        for name, values in zip(names, curve.at(t).T, strict=False):
            out.setdefault(str(name), values)
    return {name: torch.from_numpy(np.array(values)).double() for name, values in out.items()}
