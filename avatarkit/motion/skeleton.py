"""Recognizes joints by name: Mixamo, VRM, Unreal, SMPL and the other rigs of ``rigs.toml``."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from avatarkit.errors import InputError
from avatarkit.types.body import SMPLX_JOINTS
from avatarkit.utils.moved import former_names

__all__ = ["REQUIRED", "Recognized", "recognize", "recognize_rig"]

REQUIRED = ("pelvis", "left_shoulder", "left_elbow", "right_shoulder", "right_elbow")
"""Joints without which a motion cannot be retargeted."""

_CHAINS = (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
_OTHERS = ("head", "jaw", "eye_smplhf")
_SHARED = 0.75  # part of the joints that share a prefix or a suffix which is no name
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_HELPERS = re.compile(r"^(org|mch|vis|wgt)[-_]|^__", re.IGNORECASE)  # of Rigify and MakeHuman
_SIDES = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"^(left|right|左|右)(?=.)", re.IGNORECASE),
        (r"(left|right)$", re.IGNORECASE),
        (r"^([lr])[\s_.\-]", re.IGNORECASE),
        (r"[\s_.\-]([lr])$", re.IGNORECASE),
        (r"[\s_.\-](left|right|[lr])(?=[\s_.\-])", re.IGNORECASE),
        (r"^([lrLR])(?=[A-Z])", 0),
    )
)
_LEFT = ("l", "左")
_NO_SIDE = re.compile(r"^[cm][\s_.\-]", re.IGNORECASE)


@dataclass(frozen=True)
class Recognized:
    """What the names of a skeleton mean.

    Attributes:
        rig: name of the rig in ``rigs.toml`` that explains most joints.
        joints: SMPL-X joint -> number of the skeleton's joint.
    """

    rig: str
    joints: Mapping[str, int]


def recognize(names: Sequence[str], parents: Sequence[int]) -> dict[str, int]:
    """Return SMPL-X joint -> number of the skeleton's joint, see ``recognize_rig``."""
    return dict(recognize_rig(names, parents).joints)


def recognize_rig(names: Sequence[str], parents: Sequence[int], given: Mapping[str, str] | None = None) -> Recognized:
    """Recognize the joints of a skeleton, and by which rig they are named.

    Limbs are recognized by their names, the spine by its position between pelvis and shoulders.

    Args:
        names: names of the J joints.
        parents: number of each joint's parent, -1 for the root.
        given: SMPL-X joint -> name in the skeleton, from the user; these are not guessed.

    Raises:
        InputError: ``given`` names joints that do not exist.
    """
    plain = {n: j for j, n in enumerate(names)}
    mine = _given(given or {}, plain)
    if not mine and {"left_shoulder", "left_elbow", "pelvis"} <= set(plain):
        return Recognized("SMPL-X", {n: plain[n] for n in SMPLX_JOINTS if n in plain})
    keys = _keys(names)
    rigs = _tables()["rig"]
    found: dict[str, int] = {}
    chosen: list[Mapping[str, Any]] = []
    for chain in _CHAINS:  # arms and legs may be named as in different rigs
        matches = [_limbs(rig, chain, keys, parents) for rig in rigs]
        best = max(range(len(rigs)), key=lambda k: (len(matches[k]), -k))
        chosen.append(rigs[best])
        found |= matches[best]
        for match in matches:
            for name, j in match.items():
                if name not in found and j not in found.values() and _fits(found | {name: j}, parents):
                    found[name] = j
    for rig in rigs:
        for part in _OTHERS:
            found |= {n: j for n, j in _sided(part, rig.get(part, ()), keys) if n not in found}
    found |= _fingers(keys)
    found = {n: j for n, j in found.items() if n not in mine and j not in mine.values()} | mine
    named = next((keys[("", n)] for rig in chosen for n in rig.get("pelvis", ()) if ("", n) in keys), None)
    found = _trunk(found, parents, named) | found
    return Recognized(" and ".join(dict.fromkeys(rig["name"] for rig in chosen)), found)


def _given(given: Mapping[str, str], plain: Mapping[str, int]) -> dict[str, int]:
    for ours, theirs in given.items():
        if ours not in SMPLX_JOINTS:
            raise InputError(f"The joint map names {ours!r}, which is no joint of SMPL-X; use names such as left_elbow.")
        if theirs not in plain:
            raise InputError(f"The joint map gives {theirs!r} as {ours}, but the motion file has no joint of that name.")
    return {ours: plain[theirs] for ours, theirs in given.items()}


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(resources.files("avatarkit.motion").joinpath("rigs.toml").read_text(encoding="utf-8"))


def _limbs(
    rig: Mapping[str, Any], chain: Sequence[str], keys: Mapping[tuple[str, str], int], parents: Sequence[int]
) -> dict[str, int]:
    """Return the joints of both arms or legs under one rig's names, as far as they hang on each other as in a body."""
    found: dict[str, int] = {}
    for part in chain:
        for name, j in _sided(part, rig.get(part, ()), keys):
            if j not in found.values() and _fits(found | {name: j}, parents):
                found[name] = j
    return found


def _sided(part: str, aliases: Sequence[str], keys: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, int]]:
    sides = ("",) if part in ("head", "jaw") else ("left", "right")
    for side in sides:
        hit = next((keys[side, alias] for alias in aliases if (side, alias) in keys), None)
        if hit is not None:
            yield f"{side}_{part}".lstrip("_"), hit


def _fits(found: Mapping[str, int], parents: Sequence[int]) -> bool:
    """Return whether the found joints of each limb follow each other."""
    for side in ("left", "right"):
        for chain in _CHAINS:
            joints = [found[f"{side}_{part}"] for part in chain if f"{side}_{part}" in found]
            if any(a not in _up(b, parents) for a, b in pairwise(joints)):
                return False
    return True


def _fingers(keys: Mapping[tuple[str, str], int]) -> dict[str, int]:
    table = _tables()["fingers"]
    out: dict[str, int] = {}
    for side in ("left", "right"):
        for n, finger in enumerate(_FINGERS):
            best: dict[str, int] = {}
            for alias in table[finger]:
                for pattern in table["patterns"]:
                    names = [text.format(f=alias, n=n, m=n + 1) for text in pattern]
                    hits = [keys.get((side, name)) for name in names]
                    whole = {f"{side}_{finger}{k}": j for k, j in enumerate(hits, start=1) if j is not None}
                    if hits[0] is not None and len(whole) > len(best):
                        best = whole
            out |= best
    return out


def _keys(names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return (side, normalized name) -> joint; the first joint of several with one key counts."""
    real = [unicodedata.normalize("NFKC", n) for n in names]
    skipped = {j for j, n in enumerate(real) if _HELPERS.search(n)}
    shared = _without_shared([re.split(r"[:|]", n)[-1] for n in real])
    out: dict[tuple[str, str], int] = {}
    weak: dict[tuple[str, str], int] = {}
    for j, name in enumerate(shared):
        if j in skipped:
            continue
        side, base = _key(name)
        out.setdefault((side, base), j)
        if not side and base[:1] in ("l", "r"):  # "lfemur", "rhumerus"
            weak.setdefault(("left" if base[0] == "l" else "right", base[1:]), j)
    return weak | out


def _without_shared(names: list[str]) -> list[str]:
    """Remove a prefix, a suffix and numbers that most joints share."""
    names = _without_prefix([re.sub(r"^(def|b)[-_.\s]+", "", n, flags=re.IGNORECASE) for n in names])
    numbered = [re.sub(r"_\d+$", "", n) for n in names]  # "LeftArm_09", as Sketchfab writes
    if sum(a != b for a, b in zip(names, numbered, strict=True)) >= _SHARED * len(names):
        names = numbered
    return [n[::-1] for n in _without_prefix([n[::-1] for n in names], "_-. ")]


def _without_prefix(names: list[str], marks: str = "") -> list[str]:
    """Remove the longest prefix that most names share; with ``marks`` it must end in one of them."""
    counts = Counter(n[:k] for n in names for k in range(1, min(len(n), 60) + 1) if not marks or n[k - 1] in marks)
    shared = max((p for p, c in counts.items() if c >= _SHARED * len(names)), key=len, default="")
    return [n.removeprefix(shared) for n in names]


def _key(name: str) -> tuple[str, str]:
    """Return side ("left", "right" or "") and normalized name (letters and digits) of a joint's name."""
    name = re.sub(r"^(bip\d*|cc_base|armature)[\s_]+", "", name, flags=re.IGNORECASE)
    side = ""
    for pattern in _SIDES:
        hit = pattern.search(name)
        if hit:
            side = "left" if hit.group(1).lower().startswith(_LEFT) else "right"
            name = f"{name[: hit.start()]} {name[hit.end() :]}"
            break
    else:
        name = _NO_SIDE.sub("", name)
    return side, re.sub(r"[\W_]", "", name.lower())


def _up(j: int, parents: Sequence[int]) -> list[int]:
    """Return the joints from a joint up to the root."""
    out: list[int] = []
    while j >= 0:
        out.append(j)
        j = parents[j]
    return out


def _crown(chest: int, found: Mapping[str, int], parents: Sequence[int]) -> int | None:
    """Return the head of a skeleton that does not name it: the end of the only line of joints from the chest beside the arms."""
    children: dict[int, list[int]] = {}
    for j, parent in enumerate(parents):
        children.setdefault(parent, []).append(j)
    arms = set(_up(found["left_shoulder"], parents)) | set(_up(found["right_shoulder"], parents))
    free = [j for j in children.get(chest, []) if j not in arms]
    if len(free) != 1:
        return None
    j = free[0]
    while len(children.get(j, [])) == 1:
        j = children[j][0]
    return j


def _trunk(found: Mapping[str, int], parents: Sequence[int], named: int | None) -> dict[str, int]:
    """Return pelvis, spine, neck: the joints from hips to shoulders, and on to the head.

    Args:
        found: limbs and head.
        parents: number of each joint's parent.
        named: joint with a pelvis's name, or None.
    """

    def line(name: str) -> list[int]:
        return _up(found.get(name, -1), parents)

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
        above = set() if pelvis is None else set(_up(pelvis, parents))  # some rigs part the trunk above the hips
        pelvis = next((j for j in up[::-1] if j in above), named if named in up else up[0])
    spine = up[up.index(pelvis) + 1 :]
    out = {"pelvis": pelvis}
    if spine:
        out["spine3"] = spine[-1]
        rest = spine[:-1]
        if rest:
            out["spine1"] = rest[0]
            if len(rest) > 1:
                out["spine2"] = rest[-1]
    head = found.get("head", _crown(chest, found, parents))
    if head is not None:
        out["head"] = head
    to_head = _up(-1 if head is None else head, parents)
    neck = to_head[1 : to_head.index(chest)] if chest in to_head else []
    if neck:
        out["neck"] = neck[len(neck) // 2]
    return out


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"recognise": "recognize"})
