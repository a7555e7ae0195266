"""Recognizes joints by name: Mixamo, Rokoko, CMU, MakeHuman, Poser, UE, SMPL and others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avatarkit.types.body import SMPLX_JOINTS
from avatarkit.utils.moved import former_names

__all__ = ["recognize"]

# In order of preference: if a skeleton has several names of a row, the first is used.
_LIMBS: dict[str, tuple[str, ...]] = {
    "shoulder": ("upperarm01", "upperarm", "uparm", "shldr", "arm", "humerus", "shoulder"),
    "collar": ("collar", "clavicle", "collarbone", "clav", "shoulder"),
    "elbow": ("lowerarm01", "lowerarm", "forearm", "lowarm", "loarm", "elbow", "radius"),
    "wrist": ("wrist", "hand"),
    "hip": ("upperleg01", "upperleg", "upleg", "thigh", "femur", "hip", "hipjoint"),
    "knee": ("lowerleg01", "lowerleg", "lowleg", "loleg", "shin", "calf", "tibia", "knee", "leg"),
    "ankle": ("foot", "ankle"),
    "foot": ("toebase", "toes", "toe", "ball", "toe0", "toe1", "toe11"),
    "eye_smplhf": ("eye", "eyesmplhf"),
}
_FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
_OTHER_FINGER_NAMES = {"middle": ("mid",), "pinky": ("little", "pinkie")}


def recognize(names: Sequence[str], parents: Sequence[int]) -> dict[str, int]:
    """Return SMPL-X joint -> number of the skeleton's joint, for the recognized joints.

    Limbs are recognized by their names, the spine by its position between pelvis and shoulders.

    Args:
        names: names of the J joints.
        parents: number of each joint's parent, -1 for the root.
    """
    plain = {n: j for j, n in enumerate(names)}
    if {"left_shoulder", "left_elbow", "pelvis"} <= set(plain):
        return {n: plain[n] for n in SMPLX_JOINTS if n in plain}
    keys = [_key(n) for n in names]
    found: dict[str, int] = {}
    for side in ("left", "right"):
        mine: dict[str, int] = {}
        for j, (where, base) in enumerate(keys):
            if where == side:
                mine.setdefault(base, j)
        taken: set[int] = set()
        for part, aliases in _LIMBS.items():
            best = next((mine[a] for a in aliases if a in mine and mine[a] not in taken), None)
            if best is not None:
                found[f"{side}_{part}"] = best
                taken.add(best)
        for finger, number in _FINGERS.items():
            found |= {f"{side}_{finger}{k}": j for k, j in _finger(finger, number, mine).items()}
    middle = {base: j for j, (where, base) in reversed(list(enumerate(keys))) if not where}
    found |= {n: middle[n] for n in ("head", "jaw") if n in middle}
    found |= _trunk(found, parents)
    return found


def _finger(finger: str, number: int, joints: dict[str, int]) -> dict[int, int]:
    for name in (finger, *_OTHER_FINGER_NAMES.get(finger, ())):
        for pattern in (f"hand{name}{{}}", f"{name}{{}}", f"{name}0{{}}", f"finger{number}{{}}", f"{name}finger{{}}"):
            hit = {k: joints[pattern.format(k)] for k in (1, 2, 3) if pattern.format(k) in joints}
            if hit:
                return hit
    return {}


def _key(name: str) -> tuple[str, str]:
    """Return side and normalized name (letters and digits) of a joint's name.

    The side is "left", "right" or "".
    """
    name = name.split(":")[-1]
    name = re.sub(r"^(bip\d*|cc_base|armature|def|org|b|j_bip)[\s_]+", "", name, flags=re.IGNORECASE)
    patterns = (
        (r"^(left|right)(?=.)", re.IGNORECASE),
        (r"(left|right)$", re.IGNORECASE),
        (r"^([lr])[\s_.\-]", re.IGNORECASE),
        (r"[\s_.\-]([lr])$", re.IGNORECASE),
        (r"[\s_.\-]([lr])(?=[\s_.\-])", re.IGNORECASE),
        (r"^([lrLR])(?=[A-Z])", 0),
    )
    side = ""
    for pattern, flags in patterns:
        hit = re.search(pattern, name, flags)
        if hit:
            side = "left" if hit.group(1).lower().startswith("l") else "right"
            name = name[: hit.start()] + " " + name[hit.end() :]
            break
    if name.strip().startswith("__"):  # helper joints of MakeHuman's exporter
        return "", ""
    return side, re.sub(r"[^a-z0-9]", "", name.lower())


def _trunk(found: dict[str, int], parents: Sequence[int]) -> dict[str, int]:
    """Return pelvis, spine, neck: the joints from hips to shoulders, and on to the head."""

    def line(name: str) -> list[int]:
        """Return the joints from a joint up to the root."""
        j: int = found.get(name, -1)
        out: list[int] = []
        while j >= 0:
            out.append(j)
            j = parents[j]
        return out

    def meet(a: str, b: str) -> int | None:
        other = set(line(b))
        return next((j for j in line(a) if j in other), None)

    pelvis = meet("left_hip", "right_hip")
    chest = meet("left_shoulder", "right_shoulder")
    if chest is None:
        return {"pelvis": 0 if pelvis is None else pelvis}
    up = line("left_shoulder")
    up = up[up.index(chest) :][::-1]  # root ... chest
    if pelvis is None or pelvis not in up:
        pelvis = up[0]
    spine = up[up.index(pelvis) + 1 :]
    out = {"pelvis": pelvis}
    if spine:
        out["spine3"] = spine[-1]
        rest = spine[:-1]
        if rest:
            out["spine1"] = rest[0]
            if len(rest) > 1:
                out["spine2"] = rest[-1]
    to_head = line("head")
    neck = to_head[1 : to_head.index(chest)] if chest in to_head else []
    if neck:
        out["neck"] = neck[len(neck) // 2]
    return out


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"recognise": "recognize"})
