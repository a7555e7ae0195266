"""Writes a clip as binary glTF, with or without the bones of VRM."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.testing.motion_conventions.clip import JOINTS, OFFSETS, Clip
from avatarkit.testing.motion_conventions.convention import rests
from avatarkit.testing.motion_conventions.rigs import rig_names, vrm_bone

__all__ = ["glb"]


def glb(
    clip: Clip,
    rig: str = "Mixamo",
    rest: str = "T",
    skin: bool = True,
    armature: tuple[np.ndarray, float] | None = None,
    humanoid: str = "",
    keys: str = "LINEAR",
    rolled: bool = False,
    expressions: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Return the clip as the content of a GLB file, in meters.

    Args:
        clip: the clip.
        rig: name in ``RIGS``.
        rest: see ``Convention``.
        skin: whether there is a skin with inverse bind matrices; then the nodes are stored in the pose of the first frame.
        armature: rotation and scale of a node above the hips; the joints are written in its space.
        humanoid: VRMC_vrm_animation, VRMC_vrm, or empty.
        keys: LINEAR, STEP or CUBICSPLINE.
        rolled: whether the joints' axes are turned at rest, as Blender and Unreal turn them.
        expressions: name of VRM -> (T,); only with VRMC_vrm_animation.
    """
    data = bytearray()
    accessors: list[dict[str, Any]] = []
    views: list[dict[str, Any]] = []

    def store(values: np.ndarray, kind: str) -> int:
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
        data.extend(raw)
        bounds = {"min": [float(values.min())], "max": [float(values.max())]} if kind == "SCALAR" else {}
        accessors.append({"bufferView": len(views) - 1, "componentType": 5126, "count": len(values), "type": kind, **bounds})
        return len(accessors) - 1

    names, turned = rig_names(rig), rests(rest)
    used = [n for n in JOINTS if n in names]
    A, size = armature or (np.eye(3), 1.0)
    rolls = {n: Rotation.from_euler("xyz", [20 * (k % 5), 90 * (k % 3), -70 + 35 * (k % 4)], degrees=True).as_matrix()
             if rolled else np.eye(3) for k, n in enumerate(used)}  # fmt: skip
    zero: dict[str, np.ndarray] = {}
    for n in used:  # positions at rest in meters, the hips where they stand
        parent = PARENTS[n]
        zero[n] = OFFSETS[n] / 100 if parent is None else zero[parent] + turned[parent] @ OFFSETS[n] / 100
    world = {n: clip.turns[n] @ turned[n].T @ rolls[n] for n in used}
    nodes: list[dict[str, Any]] = []
    number = {n: k + 1 for k, n in enumerate(used)}
    channels, samplers = [], []
    time = store(np.arange(len(clip.path)) / clip.fps, "SCALAR")

    def animate(node: int, path: str, values: np.ndarray) -> None:
        if keys == "CUBICSPLINE":
            steps = np.gradient(values, 1 / clip.fps, axis=0) if len(values) > 1 else 0 * values
            values = np.stack([steps, values, steps], 1).reshape(-1, values.shape[1])
        samplers.append({"input": time, "output": store(values, f"VEC{values.shape[1]}"), "interpolation": keys})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    turn = Rotation.from_matrix(A).as_quat().tolist()
    nodes.append({"name": "Armature", "rotation": turn, "scale": [size] * 3, "children": [1]})
    for n in used:
        parent = PARENTS[n]
        above = A if parent is None else world[parent]
        local = np.swapaxes(above, -1, -2) @ world[n]
        quaternions = Rotation.from_matrix(local).as_quat()
        flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0))
        quaternions[1:] *= flips[:, None]
        if parent is None:
            path = clip.path / 100 @ A / size
            animate(number[n], "translation", path)
            place, at = path[0], zero[n] @ A / size
        else:
            step = rolls[parent].T @ turned[parent] @ OFFSETS[n] / 100 / size
            place = at = step
        still = A.T @ rolls[n] if parent is None else rolls[parent].T @ rolls[n]
        pose = quaternions[0] if skin else Rotation.from_matrix(still).as_quat()
        children = [number[c] for c in used if PARENTS[c] == n]
        nodes.append({
            "name": names[n], "rotation": pose.tolist(), "translation": (place if skin else at).tolist(),
            **({"children": children} if children else {}),
        })  # fmt: skip
        animate(number[n], "rotation", quaternions)
    out: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": nodes}
    if skin:
        inverse = np.zeros((len(used), 4, 4))
        for k, n in enumerate(used):
            M = np.eye(4)
            M[:3, :3], M[:3, 3] = rolls[n] * size, zero[n]
            inverse[k] = np.linalg.inv(M).T
        out["skins"] = [{"joints": list(number.values()), "inverseBindMatrices": store(inverse.reshape(-1, 16), "MAT4")}]
    if humanoid:
        bones = {vrm_bone(n): {"node": number[n]} for n in used}
        extension: dict[str, Any] = {"specVersion": "1.0", "humanoid": {"humanBones": bones}}
        for name, values in (expressions or {}).items():
            nodes.append({"name": name})
            nodes[0]["children"].append(len(nodes) - 1)
            animate(len(nodes) - 1, "translation", np.stack([values, 0 * values, 0 * values], -1))
            group = "custom" if name == "jawOpen" else "preset"
            extension.setdefault("expressions", {}).setdefault(group, {})[name] = {"node": len(nodes) - 1}
        out |= {"extensionsUsed": [humanoid], "extensions": {humanoid: extension}}
    out |= {"animations": [{"channels": channels, "samplers": samplers}], "accessors": accessors, "bufferViews": views,
            "buffers": [{"byteLength": len(data)}]}  # fmt: skip
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 4)
    data.extend(bytes(-len(data) % 4))
    chunks = struct.pack("<2I", len(text), 0x4E4F534A) + text + struct.pack("<2I", len(data), 0x004E4942) + bytes(data)
    return struct.pack("<4s2I", b"glTF", 2, 12 + len(chunks)) + chunks
