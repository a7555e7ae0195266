"""Writes one motion in every convention of motion files: axes, units, rotation orders, names, rests, channels, encodings."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.types.body import SMPLX_JOINTS, BodyParams, Motion, PoseGroup

__all__ = [
    "AXES",
    "FINGERS",
    "JOINTS",
    "OFFSETS",
    "ORDERS",
    "PREFIXED",
    "RIGS",
    "SIDES",
    "Clip",
    "Convention",
    "Figure",
    "apart",
    "bvh",
    "encode",
    "glb",
    "make_clip",
    "rig_names",
    "smpl_arrays",
    "vrm_bone",
    "world_rotations",
]

SIDES = ("left", "right")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")

# Joints in a T-pose, centimeters, y up, facing +z, from the parent.
_MIDDLE = {"pelvis": (0, 95, 0), "spine1": (0, 12, 0), "spine2": (0, 14, 0), "spine3": (0, 12, 0), "neck": (0, 16, 0),
           "head": (0, 10, 2)}  # fmt: skip
_LEFT = {"collar": (4, 12, 0), "shoulder": (13, 1, 0), "elbow": (28, 0, 0), "wrist": (25, 0, 0), "hip": (9, -4, 0),
         "knee": (0, -42, 1), "ankle": (0, -40, -2), "foot": (0, -7, 13), "thumb1": (3, -1, 3), "index1": (10, 0, 3),
         "middle1": (10.5, 0, 1), "ring1": (10, 0, -1), "pinky1": (9, 0, -3)}  # fmt: skip
_PHALANX = {"thumb": (2.4, -0.6, 2), "index": (3.2, 0, 0), "middle": (3.4, 0, 0), "ring": (3.2, 0, 0), "pinky": (2.4, 0, 0)}
_TIPS = {"head": (0, 18, 0), "foot": (0, 0, 6)}
JOINTS = tuple(n for n in PARENTS if n != "jaw" and "eye" not in n)


def _offsets() -> dict[str, np.ndarray]:
    out = {n: np.array(v, float) for n, v in _MIDDLE.items()}
    for sign, side in ((1, "left"), (-1, "right")):
        table = dict(_LEFT) | {f"{f}{k}": _PHALANX[f] for f in FINGERS for k in (2, 3)}
        out |= {f"{side}_{n}": np.array(v, float) * (sign, 1, 1) for n, v in table.items()}
    return out


OFFSETS = _offsets()


@dataclass(frozen=True)
class Clip:
    """World rotations from the T-pose and the path of the pelvis, y up.

    Attributes:
        turns: joint -> (T, 3, 3).
        path: (T, 3) centimeters.
        fps: frames per second.
    """

    turns: dict[str, np.ndarray]
    path: np.ndarray
    fps: float = 30.0


def make_clip(seed: int, frames: int = 6, posture: str = "stand") -> Clip:
    """Return a smooth random motion within what bodies can do; ``posture``: stand, crouch, prone or supine."""
    rng = np.random.default_rng(seed)

    def wave(low: float, high: float) -> np.ndarray:
        a, b = rng.uniform(low, high, 2)
        return np.radians(a + (b - a) * np.linspace(0, 1, frames))

    local: dict[str, Rotation] = {}
    tilt = {"prone": 90, "supine": -90}.get(posture, 0)
    yaw = rng.uniform(-180, 180)
    euler = np.stack([wave(yaw - 25, yaw + 25), wave(tilt - 8, tilt + 8), wave(-8, 8)], -1)
    local["pelvis"] = Rotation.from_euler("YXZ", euler)
    for name in JOINTS[1:]:
        side, _, part = name.rpartition("_")
        s = 1 if side == "left" else -1
        if part in ("spine1", "spine2", "spine3", "neck", "head"):
            angles = [wave(-12, 12), wave(-12, 12), wave(-8, 8)]
        elif tilt and part in ("shoulder", "elbow", "hip", "knee"):  # limbs stay near the floor
            angles = [wave(-5, 5), wave(-5, 5), s * wave(-60, 60) if part == "shoulder" else wave(-3, 3)]
        elif part == "shoulder":
            angles = [s * wave(-60, 10), wave(-40, 40), s * wave(-80, 10)]
        elif part == "elbow":
            angles = [s * wave(-110, 0), 0 * wave(0, 1), 0 * wave(0, 1)]
        elif part == "hip":
            angles = [s * wave(-15, 15), wave(-60, 10), s * wave(-5, 20)]
        elif part == "knee":
            angles = [0 * wave(0, 1), wave(0, 100), 0 * wave(0, 1)]
        elif part[-1] in "123" and not part.startswith("thumb"):
            angles = [0 * wave(0, 1), 0 * wave(0, 1), s * wave(-60, 0)]
        else:
            angles = [wave(-10, 10), wave(-10, 10), wave(-10, 10)]
        local[name] = Rotation.from_euler("YXZ", np.stack(angles, -1))
    world: dict[str, Rotation] = {}
    for name in JOINTS:
        parent = PARENTS[name]
        world[name] = local[name] if parent is None else world[parent] * local[name]
    turns = {n: R.as_matrix() for n, R in world.items()}
    start = np.array([rng.uniform(300, 400), 95, rng.uniform(300, 400)])  # far from planes that may look like the floor
    walk = np.linspace(0, 1, frames)[:, None] * np.array([rng.uniform(-60, 60), 0, rng.uniform(-60, 60)])
    drop = np.zeros((frames, 3))
    if posture == "crouch":
        drop[:, 1] = -40 * np.sin(np.linspace(0, math.pi, frames))
    if tilt:
        drop[:, 1] = 3 - 95 - _heights(turns).min(1)
    return Clip(turns, start + walk + drop)


def _heights(turns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the heights of the joints over the pelvis, (T, J)."""
    at: dict[str, np.ndarray] = {}
    for name in JOINTS:
        parent = PARENTS[name]
        at[name] = 0 * turns[name][:, 0] if parent is None else at[parent] + turns[parent] @ OFFSETS[name]
    return np.stack(list(at.values()), 1)[..., 1]


@dataclass(frozen=True)
class Convention:
    """How a file is written; the defaults are those of Mixamo in centimeters.

    Attributes:
        axes: (3, 3) rotation from y up to the file's axes.
        unit: the file's units per centimeter.
        order: of the Euler angles, e.g. ZXY.
        rig: name in ``RIGS``.
        prefix, suffix: of all names.
        rest: T, A (arms 45 degrees down), I (arms down) or V (A with the legs apart).
        channels: root, all (positions of all joints), dummy (a root above the hips), under (the hips below it move, not it).
        text: utf-8, bom, utf-16, lower, comments, tabs, crlf or comma.
    """

    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    unit: float = 1.0
    order: str = "ZXY"
    rig: str = "Mixamo"
    prefix: str = ""
    suffix: str = ""
    rest: str = "T"
    channels: str = "root"
    text: str = "utf-8"


def _axes() -> list[np.ndarray]:
    """Return the 24 rotations by right angles."""
    found = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        R = np.zeros((3, 3))
        R[list(order), range(3)] = signs
        if np.linalg.det(R) > 0:
            found.append(R)
    return found


AXES = _axes()
ORDERS = tuple("".join(p) for p in permutations("XYZ"))


def _rests(kind: str) -> dict[str, np.ndarray]:
    """Return joint -> (3, 3) rotation from the T-pose to another rest pose."""
    out = dict.fromkeys(JOINTS, np.eye(3))
    arm, leg = {"T": (0, 0), "A": (45, 0), "I": (85, 0), "V": (45, 12)}[kind]
    for sign, side in ((1, "left"), (-1, "right")):
        down = Rotation.from_euler("z", -sign * arm, degrees=True).as_matrix()
        apart = Rotation.from_euler("z", sign * leg, degrees=True).as_matrix()
        for name in JOINTS:
            part = name.removeprefix(side + "_")
            if name.startswith(side) and part in ("hip", "knee"):
                out[name] = apart
            elif name.startswith(side) and part not in ("collar", "ankle", "foot"):
                out[name] = down
    return out


def bvh(clip: Clip, how: Convention) -> bytes:
    """Return the clip as the content of a BVH file."""
    rest, names = _rests(how.rest), rig_names(how.rig)
    names = {n: how.prefix + v + how.suffix for n, v in names.items()}
    used = [n for n in JOINTS if n in names]
    G = how.axes

    def offset(name: str) -> np.ndarray:
        parent = PARENTS[name]
        return G @ (rest[parent] if parent else np.eye(3)) @ OFFSETS[name] * how.unit

    world = {n: G @ clip.turns[n] @ rest[n].T @ G.T for n in used}
    path = clip.path @ G.T * how.unit
    wrapped = how.channels in ("dummy", "under")
    lines, columns = ["HIERARCHY"], []
    angles = " ".join(f"{a}rotation" for a in how.order)
    places = "Xposition Yposition Zposition"

    def add(values: np.ndarray) -> None:
        columns.append(np.asarray(values, float).reshape(len(clip.path), -1))

    def text(v: np.ndarray) -> str:
        return " ".join(f"{x:.8f}" for x in v)

    def joint(name: str, depth: int) -> None:
        pad, parent = "\t" * depth, PARENTS[name]
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {names[name]}")
        lines.append(pad + "{")
        moved = how.channels == "all" or (name == "pelvis" and how.channels != "dummy")
        lines.append(f"{pad}\tOFFSET {text(0 * path[0] if name == 'pelvis' else offset(name))}")
        lines.append(f"{pad}\tCHANNELS {6 if moved else 3} {places + ' ' if moved else ''}{angles}")
        local = world[name] if parent is None else np.swapaxes(world[parent], 1, 2) @ world[name]
        if moved:
            add(path if name == "pelvis" else np.tile(offset(name), (len(path), 1)))
        add(Rotation.from_matrix(local).as_euler(how.order, degrees=True))
        children = [n for n in used if PARENTS[n] == name]
        for child in children:
            joint(child, depth + 1)
        if not children:
            tip = np.array(_TIPS.get(name.rpartition("_")[2], OFFSETS[name] * 0.8), float)
            end = text(G @ rest[name] @ tip * how.unit)
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {end}", pad + "\t}"])
        lines.append(pad + "}")

    if wrapped:
        lines += [f"ROOT {how.prefix}Reference{how.suffix}", "{", "\tOFFSET 0 0 0", f"\tCHANNELS 6 {places} {angles}"]
        add(path if how.channels == "dummy" else 0 * path)
        add(0 * path)
    joint("pelvis", int(wrapped))
    if wrapped:
        lines.append("}")
    rows = np.concatenate(columns, 1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / clip.fps:.8f}", *(text(r) for r in rows)]
    return _encoded("\n".join(lines) + "\n", how.text)


def _encoded(text: str, how: str) -> bytes:
    if how == "lower":
        for word in ("HIERARCHY", "ROOT", "JOINT", "End Site", "OFFSET", "CHANNELS", "MOTION", "Frames", "Frame Time"):
            text = text.replace(word, word.lower())
    if how == "comments":
        text = "# exported\n" + text.replace("MOTION\n", "// the frames\nMOTION\n# here\n") + "# end\n"
    if how == "tabs":
        head, _, frames = text.partition("MOTION\n")
        text = head + "MOTION\n" + frames.replace(" ", "\t").replace("Frame\tTime", "Frame Time")
    if how == "crlf":
        text = text.replace("\n", "\r\n")
    if how == "comma":
        text = text.replace(".", ",")
    return text.encode({"bom": "utf-8-sig", "utf-16": "utf-16"}.get(how, "utf-8"))


_ARM = ("collar", "shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle", "foot")
# Trunk from pelvis to head; mark of the left side (@ = the part) and arm; leg; pattern of fingers.
RIGS: dict[str, tuple[str, str, str, str]] = {
    "Mixamo": (
        "Hips Spine Spine1 Spine2 Neck Head", "Left:Shoulder Arm ForeArm Hand", "UpLeg Leg Foot ToeBase", "Hand{F}{k}"),
    "OptiTrack": ("Hip Ab Ab2 Chest Neck Head", "L:Shoulder UArm FArm Hand", "Thigh Shin Foot Toe", "{F}{k}"),
    "Valve": (
        "Pelvis Spine Spine1 Spine2 Neck1 Head1", "L_:Clavicle UpperArm Forearm Hand", "Thigh Calf Foot Toe0", "Finger{b}"),
    "Biped": ("Pelvis Spine Spine1 Spine2 Neck Head", "L :Clavicle UpperArm Forearm Hand", "Thigh Calf Foot Toe0", "Finger{b}"),
    "VRoid": (
        "C_Hips C_Spine C_Chest C_UpperChest C_Neck C_Head", "L_:Shoulder UpperArm LowerArm Hand",
        "UpperLeg LowerLeg Foot ToeBase", "{L}{k}"),
    "VRM": (
        "hips spine chest upperChest neck head", "left:Shoulder UpperArm LowerArm Hand", "UpperLeg LowerLeg Foot Toes", "{L}{p}"),
    "Second Life": (
        "mPelvis mTorso mSpine3 mChest mNeck mHead", "m@Left:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Foot", "Hand{F}{k}"),
    "Rigify": (
        "spine spine.001 spine.002 spine.003 spine.004 spine.006", "@.L:shoulder upper_arm forearm hand", "thigh shin foot toe",
        "{r}.0{k}"),
    "Unreal": (
        "pelvis spine_01 spine_02 spine_03 neck_01 head", "@_l:clavicle upperarm lowerarm hand", "thigh calf foot ball",
        "{f}_0{k}"),
    "Daz": (
        "hip abdomenLower abdomenUpper chestLower neckLower head", "l:Collar ShldrBend ForearmBend Hand",
        "ThighBend Shin Foot Toe", "{M}{k}"),
    "Poser": ("hip abdomen chest chest2 neck head", "l:Collar Shldr ForeArm Hand", "Thigh Shin Foot Toe", "{M}{k}"),
    "MakeHuman": (
        "root spine05 spine03 spine01 neck01 head", "@.L:clavicle upperarm01 lowerarm01 wrist",
        "upperleg01 lowerleg01 foot toe1-1", "finger{n}-{k}"),
    "SMPL": ("Pelvis Spine1 Spine2 Spine3 Neck Head", "L_:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Foot", "{F}{k}"),
    "Kinect": (
        "SpineBase SpineMid Spine2 SpineShoulder Neck Head", "@Left:Clavicle Shoulder Elbow Wrist", "Hip Knee Ankle Foot", ""),
    "Xsens": ("Hips Chest Chest2 Chest4 Neck Head", "Left:Collar Shoulder Elbow Wrist", "Hip Knee Ankle Toe", ""),
    "Character Creator": (
        "Hip Waist Spine01 Spine02 NeckTwist01 Head", "L_:Clavicle Upperarm Forearm Hand", "Thigh Calf Foot ToeBase", "{M}{k}"),
    "Acclaim": ("root lowerback upperback thorax lowerneck head", "l:clavicle humerus radius wrist", "femur tibia foot toes", ""),
    "ARKit": (
        "hips_joint spine_1_joint spine_4_joint spine_7_joint neck_1_joint head_joint",
        "left_@_joint:shoulder_1 arm forearm hand", "upLeg leg foot toes", "hand{F}_{k}"),
    "MikuMikuDance": ("センター 上半身 上半身2 上半身3 首 頭", "左:肩 腕 ひじ 手首", "足 ひざ 足首 つま先", ""),
}  # fmt: skip
PREFIXED = {
    "Mixamo": ("", "mixamorig:", "mixamorig1", "mixamorig_", "Character1_", "Armature|", "Bob:Bob_"),
    "Valve": ("ValveBiped.Bip01_",), "Biped": ("Bip01 ", "Bip001 "), "VRoid": ("J_Bip_",), "Rigify": ("", "DEF-"),
    "Character Creator": ("CC_Base_",), "OptiTrack": ("", "Skeleton 001_"), "Unreal": ("", "root|"), "VRM": ("", "Normalized_"),
}  # fmt: skip


_VRM_PHALANGES = (("Proximal", "Intermediate", "Distal"), ("Metacarpal", "Proximal", "Distal"))  # of fingers, of the thumb


def rig_names(rig: str) -> dict[str, str]:
    """Return SMPL-X joint -> name, as programs that use the rig write it."""
    trunk, arm, leg, pattern = RIGS[rig]
    out = dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), trunk.split(" "), strict=True))
    mark, parts = arm.split(":")
    for side in SIDES:
        mine = mark if side == "left" else _right(mark)

        def sided(base: str, mine: str = mine) -> str:
            return mine.replace("@", base) if "@" in mine else mine + base

        out |= {f"{side}_{n}": sided(p) for n, p in zip((*_ARM, *_LEG), [*parts.split(" "), *leg.split(" ")], strict=True)}
        for n, finger in enumerate(FINGERS if pattern else ()):
            for k in (1, 2, 3):
                other = {"pinky": "Little"}.get(finger, finger.capitalize())
                filled = pattern.format(
                    f=finger, F=finger.capitalize(), L=other, k=k, n=n + 1, b=f"{n}{k - 1 or ''}",
                    M={"middle": "Mid"}.get(finger, finger.capitalize()), r="thumb" if finger == "thumb" else f"f_{finger}",
                    p=_VRM_PHALANGES[finger == "thumb"][k - 1],
                )  # fmt: skip
                out[f"{side}_{finger}{k}"] = sided(filled)
    return out


def _right(mark: str) -> str:
    pairs = (("Left", "Right"), ("left", "right"), ("左", "右"), ("L", "R"), ("_l", "_r"), ("l", "r"))
    for a, b in pairs:
        if a in mark:
            return mark.replace(a, b)
    return mark


# ----------------------------------------------------------------------------------------------------------------- glTF

_VRM_BONES = {
    "pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck", "head": "head",
    "collar": "Shoulder", "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand", "hip": "UpperLeg", "knee": "LowerLeg",
    "ankle": "Foot", "foot": "Toes",
}  # fmt: skip


def vrm_bone(name: str) -> str:
    """Return the bone of VRM 1.0 of an SMPL-X joint."""
    side, _, part = name.rpartition("_")
    if part in _VRM_BONES:
        bone = _VRM_BONES[part]
    else:
        finger, k = part[:-1], int(part[-1])
        bone = {"pinky": "Little"}.get(finger, finger.capitalize()) + _VRM_PHALANGES[finger == "thumb"][k - 1]
    return side + bone


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

    names, turned = rig_names(rig), _rests(rest)
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


# ----------------------------------------------------------------------------------------------------------------- SMPL


def smpl_arrays(clip: Clip, axes: np.ndarray, model: str = "smplx") -> dict[str, np.ndarray]:
    """Return joint -> (T, 3, 3) local rotations and ``trans`` (T, 3) meters, in a world of other axes."""
    joints = SMPLX_JOINTS if model == "smplx" else SMPLX_JOINTS[:22] if model == "smpl" else [
        n for n in SMPLX_JOINTS if n != "jaw" and "eye" not in n
    ]  # fmt: skip
    out: dict[str, np.ndarray] = {}
    for name in joints:
        if name not in clip.turns:
            out[name] = np.tile(np.eye(3), (len(clip.path), 1, 1))
            continue
        parent = PARENTS[name]
        out[name] = axes @ clip.turns[name] if parent is None else np.swapaxes(clip.turns[parent], 1, 2) @ clip.turns[name]
    out["trans"] = clip.path @ axes.T / 100
    return out


def encode(R: np.ndarray, how: str) -> np.ndarray:
    """Return rotations (T, n, 3, 3) as axis-angle, matrices, or six numbers; (T, n, ...) or flat."""
    kind, _, shape = how.partition("-")
    if kind == "axis":
        values = Rotation.from_matrix(R.reshape(-1, 3, 3)).as_rotvec().reshape(*R.shape[:2], 3)
    elif kind == "matrix":
        values = R
    elif kind == "rows":
        values = R[..., :2, :].reshape(*R.shape[:2], 6)
    elif kind == "columns":
        values = np.swapaxes(R, -1, -2)[..., :2, :].reshape(*R.shape[:2], 6)
    else:
        values = R[..., :, :2].reshape(*R.shape[:2], 6)
    return values.reshape(len(R), -1) if shape == "flat" else values[None] if shape == "batch" else values


# ----------------------------------------------------------------------------------------------------------------- body


class Figure:
    """What retargeting needs of a body model: a skeleton with SMPL-X's joints under other names, resting in an A-pose."""

    name = "figure"
    expression_names = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft")

    def __init__(self) -> None:
        self.joint_names = tuple(f"joint of {n}" for n in JOINTS)
        self.parents = tuple(JOINTS.index(p) if (p := PARENTS[n]) else -1 for n in JOINTS)
        self.pose_groups = tuple(PoseGroup(n, (j,), (1.0,), 0.3) for j, n in enumerate(JOINTS))
        rest = _rests("A")
        at: list[np.ndarray] = []
        for n in JOINTS:
            parent = PARENTS[n]
            at.append(OFFSETS[n] * 0 if parent is None else at[JOINTS.index(parent)] + rest[parent] @ OFFSETS[n] * 1.05)
        self.positions = torch.tensor(np.array(at) / 100, dtype=torch.float32)

    def neutral(self) -> BodyParams:
        zero = torch.zeros(3)
        joints = torch.zeros(len(JOINTS), 3)
        return BodyParams(self.name, torch.zeros(1), torch.zeros(len(self.expression_names)), zero, zero.clone(), joints)

    def skeleton(self, shape: torch.Tensor) -> Any:
        return self


def world_rotations(motion: Motion, body: Any) -> np.ndarray:
    """Return (T, J, 3, 3) world rotations of a motion's joints."""
    vectors = motion.params.joints.double().clone()
    vectors[:, 0] = motion.params.root.double()
    local = Rotation.from_rotvec(vectors.reshape(-1, 3).numpy()).as_matrix().reshape(*vectors.shape[:2], 3, 3)
    world = [local[:, 0]]
    for j, parent in enumerate(body.parents[1:], start=1):
        world.append(world[parent] @ local[:, j])
    return np.stack(world, 1)


def apart(a: Motion, b: Motion, body: Any) -> tuple[float, float]:
    """Return the largest differences of two motions: degrees of a joint in the world, centimeters of the path."""
    assert len(a) == len(b)
    R = np.swapaxes(world_rotations(a, body), -1, -2) @ world_rotations(b, body)
    degrees = np.degrees(Rotation.from_matrix(R.reshape(-1, 3, 3)).magnitude().max())
    path = (a.params.translation - b.params.translation).norm(dim=-1).max()
    return float(degrees), 100 * float(path)
