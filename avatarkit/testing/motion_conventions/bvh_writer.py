"""Writes a clip as BVH."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from avatarkit.motion.pose_solver import PARENTS
from avatarkit.testing.motion_conventions.clip import JOINTS, OFFSETS, Clip
from avatarkit.testing.motion_conventions.convention import Convention, rests
from avatarkit.testing.motion_conventions.rigs import rig_names

__all__ = ["bvh"]

_TIPS = {"head": (0, 18, 0), "foot": (0, 0, 6)}  # centimeters beyond the last joint


def bvh(clip: Clip, how: Convention) -> bytes:
    """Return the clip as the content of a BVH file."""
    rest, names = rests(how.rest), rig_names(how.rig)
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
