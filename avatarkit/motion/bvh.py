"""Reads and writes BVH files (Biovision hierarchies).

A file contains a skeleton (offsets of joints in their parents' axes, all axes parallel at zero) and, per frame, Euler
angles of every joint and the position of the root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import Motion
from avatarkit.utils.files import require_file, write_text

__all__ = ["MOST_FRAMES", "Bvh", "read_bvh", "write_bvh"]

MOST_FRAMES = 18_000
"""Limit of one motion: 10 minutes at 30 frames per second. At some 40 KB per frame, memory stays below a gigabyte."""

_MOST_FILE_BYTES = 600 << 20
_MOST_HEAD_BYTES = 4 << 20  # size limit of the skeleton; human skeletons take some ten kilobytes
_MOST_JOINTS = 2_000
_MOST_LEVELS = 200
_MOST_NAME_WORDS, _MOST_NAME_LETTERS = 32, 200
_MOST_ROTATIONS = 2_000_000  # limit of frames times joints, at some 200 bytes each
_MOST_LINES, _MOST_LINE_BYTES = 100, 1000  # limits between the word MOTION and the frames
_MOST_DIGITS = 60  # longest number as text
_PIECE = 1 << 18  # bytes read at once
_LARGEST = 1e9
_CENTIMETERS = 100.0


@dataclass(frozen=True)
class Bvh:
    """Content of a BVH file, in its own units and axes.

    Attributes:
        names: names of the J joints, root first, parents before children.
        parents: number of each joint's parent, -1 for the root.
        offsets: (J, 3) from the parent.
        tips: joint -> (3,) end of a joint without children.
        rotations: (T, J, 3, 3) relative to the parent.
        positions: (T, 3) of the root.
        placed: whether ``positions`` was in the file.
        fps: frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: torch.Tensor
    tips: dict[int, torch.Tensor]
    rotations: torch.Tensor
    positions: torch.Tensor
    placed: bool
    fps: float

    def world_rotations(self) -> torch.Tensor:
        """Return the rotations from each joint's axes to the world, (T, J, 3, 3)."""
        world = [self.rotations[:, 0]]
        for j, parent in enumerate(self.parents[1:], start=1):
            world.append(world[parent] @ self.rotations[:, j])
        return torch.stack(world, 1)

    def rest_positions(self) -> torch.Tensor:
        """Return the joints at zero rotation, (J, 3) from the root."""
        places = [torch.zeros(3, dtype=torch.float64)]
        for j, parent in enumerate(self.parents[1:], start=1):
            places.append(places[parent] + self.offsets[j])
        return torch.stack(places)


class _Words:
    """Iterates over the words of the HIERARCHY part."""

    def __init__(self, text: str, source: str) -> None:
        self.source, self._words, self._at = source, text.split(), 0

    def next(self) -> str:
        if self._at >= len(self._words):
            raise self.wrong("ends in the middle of its skeleton")
        self._at += 1
        return self._words[self._at - 1]

    def name(self) -> str:
        """Return the text up to the next brace; names may contain spaces."""
        parts = [self.next()]
        while (more := self.next()) != "{":
            parts.append(more)
            if len(parts) > _MOST_NAME_WORDS:
                raise self.wrong("has a joint without a brace after its name")
        return " ".join(parts)[:_MOST_NAME_LETTERS]

    def numbers(self, count: int) -> list[float]:
        try:
            values = [float(self.next()) for _ in range(count)]
        except ValueError:
            raise self.wrong("has text where numbers should be in its skeleton") from None
        if not all(math.isfinite(v) and abs(v) < _LARGEST for v in values):
            raise self.wrong("has an impossible number in its skeleton")
        return values

    def wrong(self, what: str) -> InputError:
        return InputError(f"{self.source} is a damaged BVH file: it {what}. Export it again.")


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file; anything after the announced frames is ignored.

    Raises:
        InputError: it is not a BVH file, is damaged, or has too many frames.
    """
    size = require_file(path, "motion file", _MOST_FILE_BYTES)
    try:
        with path.open("rb") as file:
            head, mark, _ = (start := file.read(_MOST_HEAD_BYTES)).partition(b"MOTION")
            words = _Words(head.decode("utf-8", "replace") if mark else "", path.name)
            if not mark and size > len(start):
                raise words.wrong(f"has no MOTION part in its first {_MOST_HEAD_BYTES >> 20} MB")
            if not mark or words.next() != "HIERARCHY":
                raise InputError(f"{path.name} is not a complete BVH file: it has no HIERARCHY and MOTION parts.")
            names, parents, offsets, channels, tips = _hierarchy(words)
            file.seek(len(head) + len(mark))
            values, fps = _frames(file, size, len(names), sum(len(c) for c in channels), words)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(values), len(names), 1, 1)
    positions = torch.zeros(len(values), 3, dtype=torch.float64)
    column, placed = 0, False
    for j, kinds in enumerate(channels):
        for kind in kinds:
            axis = "xyz".index(kind[0])
            if kind[1:] == "rotation":
                vector = torch.zeros(len(values), 3, dtype=torch.float64)
                vector[:, axis] = torch.deg2rad(values[:, column])
                rotations[:, j] = rotations[:, j] @ axis_angle_to_matrix(vector)
            elif j == 0:
                positions[:, axis] = values[:, column]
                placed = True
            column += 1
    return Bvh(
        tuple(names),
        tuple(parents),
        torch.tensor(offsets, dtype=torch.float64),
        tips,
        rotations,
        positions,
        placed,
        fps,
    )


def _hierarchy(
    words: _Words,
) -> tuple[list[str], list[int], list[list[float]], list[list[str]], dict[int, torch.Tensor]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    tips: dict[int, torch.Tensor] = {}
    stack: list[int] = []  # -2 stands for an end site
    pending: int | None = None
    while True:
        word = words.next()
        if word in ("ROOT", "JOINT"):
            if (word == "ROOT") != (not names) or len(names) >= _MOST_JOINTS:
                raise words.wrong("has more than one root, or too many joints")
            if len(stack) >= _MOST_LEVELS:
                raise words.wrong(f"has joints nested deeper than {_MOST_LEVELS} levels")
            names.append(words.name())
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            stack.append(len(names) - 1)
            if parents[-1] < 0 and len(names) > 1:
                raise words.wrong("has a joint in an impossible place")
        elif word == "End":
            words.next()
            if words.next() != "{" or not stack:
                raise words.wrong("has an end site in an impossible place")
            pending = stack[-1]
            stack.append(-2)
        elif word == "OFFSET" and stack:
            xyz = words.numbers(3)
            if stack[-1] == -2 and pending is not None:
                tips[pending] = torch.tensor(xyz, dtype=torch.float64)
            else:
                offsets[stack[-1]] = xyz
        elif word == "CHANNELS" and stack and stack[-1] >= 0:
            count = int(words.numbers(1)[0])
            kinds = [words.next().lower() for _ in range(min(max(count, 0), 6))]
            if any(k[:1] not in "xyz" or k[1:] not in ("rotation", "position") for k in kinds):
                raise words.wrong("has channels other than rotations and positions")
            channels[stack[-1]] = kinds
        elif word == "}" and stack:
            stack.pop()
            if not stack:
                return names, parents, offsets, channels, tips
        else:
            raise words.wrong(f"has the word {word[:30]!r} in an impossible place")


def _frames(file: BinaryIO, size: int, joints: int, width: int, words: _Words) -> tuple[torch.Tensor, float]:
    """Read the MOTION part.

    Args:
        file: open file, positioned after the word MOTION.
        size: size of the whole file, bytes.
        joints: joints of the skeleton.
        width: numbers per frame.

    Returns:
        (T, width) values and the frames per second.
    """
    count, step = -1, 0.0
    try:
        for _ in range(_MOST_LINES):
            line = file.readline(_MOST_LINE_BYTES).decode("utf-8", "replace")
            name, colon, value = line.partition(":")
            if not line or (line.strip() and not colon):
                break
            if name.strip().lower() == "frames":
                count = int(float(value))
            elif name.strip().lower() == "frame time":
                step = float(value)
                break
    except (ValueError, OverflowError):
        raise words.wrong("has no number of frames or no frame time") from None
    if count < 1 or not 1e-4 <= step <= 10 or width < 1:
        raise words.wrong("has no frames, or an impossible frame time")
    left = size - file.tell()
    if count * width > left // 2 + 1:  # a number takes at least a digit and a space
        raise words.wrong(f"announces {count:.6g} frames of {width} numbers but is too short for them")
    if count > MOST_FRAMES or count * joints > _MOST_ROTATIONS:
        most = min(MOST_FRAMES, _MOST_ROTATIONS // joints)
        raise InputError(f"{words.source} has {count} frames of {joints} joints; the limit is {most}. Cut it into parts.")
    values = np.empty(count * width)
    filled, rest = 0, b""
    while filled < len(values):
        piece = file.read(_PIECE)
        found = (rest + piece).split()
        whole = not piece or piece[-1:].isspace()
        rest = b"" if whole or not found else found.pop()
        found = found[: len(values) - filled]
        if len(rest) > _MOST_DIGITS or any(len(word) > _MOST_DIGITS for word in found):
            raise words.wrong("has text where numbers should be in its frames")
        try:
            values[filled : filled + len(found)] = np.array(found, dtype=np.float64) if found else ()
        except ValueError:
            raise words.wrong("has text where numbers should be in its frames") from None
        filled += len(found)
        if not piece and filled < len(values):
            raise words.wrong(f"announces {count} frames but contains {filled // width}")
    if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST:
        raise words.wrong("has impossible numbers in its frames")
    return torch.from_numpy(values.reshape(count, width)), _rate(step)


def _rate(step: float) -> float:
    """Return frames per second.

    Files round the frame time, so 0.041667 seconds mean 24.
    """
    fps = 1 / step
    return float(round(fps)) if abs(fps - round(fps)) < 1e-4 * fps else fps


def write_bvh(motion: Motion, body: BodyModel, path: Path) -> None:
    """Write a motion for other programs.

    The file contains all joints of the body model, in centimeters, y up, zero = its rest pose. BVH has no expressions; they are
    left out.

    Raises:
        InputError: the motion is for another body model.
        StoreError: the file cannot be written.
    """
    motion.require_model(body.name)
    p = motion.params
    with torch.no_grad():
        places = body.skeleton(p.shape).positions.double().cpu() * _CENTIMETERS
    offsets = [places[j] - (places[parent] if parent >= 0 else 0) for j, parent in enumerate(body.parents)]
    children: list[list[int]] = [[] for _ in body.joint_names]
    for j, parent in enumerate(body.parents[1:], start=1):
        children[parent].append(j)
    order: list[int] = []
    lines = ["HIERARCHY"]

    def write(j: int, depth: int) -> None:
        order.append(j)
        pad = "\t" * depth
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {body.joint_names[j]}")
        lines.append(pad + "{")
        lines.append(f"{pad}\tOFFSET {_row(offsets[j])}")
        position = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{pad}\tCHANNELS {3 if depth else 6} {position}Zrotation Xrotation Yrotation")
        for child in children[j]:
            write(child, depth + 1)
        if not children[j]:
            tip = offsets[j] * 0.5 if depth else torch.tensor([0.0, 1.0, 0.0])
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {_row(tip)}", pad + "\t}"])
        lines.append(pad + "}")

    write(0, 0)
    vectors = p.joints.double().cpu().clone()
    vectors[:, 0] = p.root.double().cpu()
    angles = _zxy(axis_angle_to_matrix(vectors))[:, order]
    position = places[0] + p.translation.double().cpu() * _CENTIMETERS
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.8f}"]
    lines += [_row(torch.cat([a, b.flatten()])) for a, b in zip(position, angles, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def _row(values: torch.Tensor) -> str:
    return " ".join(f"{v:.6f}" for v in values.tolist())


def _zxy(R: torch.Tensor) -> torch.Tensor:
    """Return Euler angles (..., 3) in degrees such that R = Z(first) X(second) Y(third)."""
    x = torch.asin(R[..., 2, 1].clamp(-1, 1))
    z = torch.atan2(-R[..., 0, 1], R[..., 1, 1])
    y = torch.atan2(-R[..., 2, 0], R[..., 2, 2])
    return torch.rad2deg(torch.stack([z, x, y], -1))
