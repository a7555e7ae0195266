"""Reads BVH files (Biovision hierarchies).

A file contains a skeleton (offsets of joints in their parents' axes, all axes parallel at zero) and, per frame, Euler
angles of every joint and the position of the root.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.utils.files import require_file

__all__ = ["MOST_FRAMES", "Bvh", "is_bvh", "read_bvh"]

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
_PIECE = 1 << 18  # characters read at once
_POINT = re.compile(r"(?<![^\s,;])[-+]?\d*\.\d")  # in a number, not in a name such as Spine1.001
_COMMENT = re.compile(r"(?:#|//)[^\n]*")
_LARGEST = 1e9


@dataclass(frozen=True)
class Bvh:
    """Content of a BVH file, in its own units and axes.

    Attributes:
        names: names of the J joints, root first, parents before children.
        parents: number of each joint's parent, -1 for the root.
        offsets: (J, 3) from the parent at rest.
        tips: joint -> (3,) end of a joint without children.
        rotations: (T, J, 3, 3) relative to the parent.
        positions: joint -> (T, 3) from its parent, for the joints with position channels; these replace the offset.
        fps: frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: torch.Tensor
    tips: dict[int, torch.Tensor]
    rotations: torch.Tensor
    positions: dict[int, torch.Tensor]
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

    def path(self, joint: int, world: torch.Tensor) -> torch.Tensor | None:
        """Return the world positions (T, 3) of a joint; None if no joint above it has position channels.

        Args:
            joint: number of the joint.
            world: see ``world_rotations``.
        """
        chain = [joint]
        while self.parents[chain[-1]] >= 0:
            chain.append(self.parents[chain[-1]])
        if not any(j in self.positions for j in chain):
            return None
        at = torch.zeros(len(world), 3, dtype=torch.float64)
        for j in chain[::-1]:
            step = self.positions.get(j, self.offsets[j].expand(len(world), 3))
            at = at + (step if self.parents[j] < 0 else (world[:, self.parents[j]] @ step[..., None])[..., 0])
        return at


class _Words:
    """Iterates over the words of the HIERARCHY part."""

    def __init__(self, text: str, source: str) -> None:
        self.source, self._words, self._at = source, text.split(), 0

    def next(self) -> str:
        if self._at >= len(self._words):
            raise self.wrong("ends in the middle of its skeleton")
        self._at += 1
        return self._words[self._at - 1]

    def more(self) -> bool:
        return self._at < len(self._words)

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


def is_bvh(head: bytes) -> bool:
    """Return whether a file that starts with ``head`` is a BVH file, in any encoding and case."""
    text = head.decode(_encoding(head), "replace")
    return _COMMENT.sub("", text).lstrip("\ufeff \r\n\t").upper().startswith("HIERARCHY")


def _encoding(head: bytes) -> str:
    """Return the encoding of a text file from its first bytes."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in head[:4]:
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"


class _Text:
    """Reads a BVH file as text: without comments, numbers with decimal points."""

    def __init__(self, file: BinaryIO) -> None:
        encoding = _encoding(file.peek(4)[:4] if isinstance(file, BufferedReader) else b"")
        self._stream = TextIOWrapper(file, encoding, errors="replace")
        self._comma = ""  # what a comma stands for, as soon as the numbers tell

    def head(self) -> tuple[str, bool]:
        """Return the text before MOTION, and whether MOTION was found in time."""
        lines: list[str] = []
        size = 0
        while size < _MOST_HEAD_BYTES:
            line = self._stream.readline(_MOST_HEAD_BYTES)
            if not line or _COMMENT.sub("", line).strip().upper() == "MOTION":
                return self._clean("".join(lines)), bool(line)
            lines.append(line)
            size += len(line)
        return "".join(lines), False

    def line(self) -> str:
        return self._clean(self._stream.readline(_MOST_LINE_BYTES))

    def piece(self) -> str:
        """Return some whole lines; long lines come in parts."""
        return self._clean(self._stream.read(_PIECE) + self._stream.readline(_PIECE))

    def _clean(self, text: str) -> str:
        if "#" in text or "//" in text:
            text = _COMMENT.sub("", text)
        if not self._comma and _POINT.search(text):
            self._comma = " "
        if "," not in text and ";" not in text:
            return text
        self._comma = self._comma or "."
        return text.replace(",", self._comma).replace(";", " ")


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file; anything after the announced frames is ignored.

    UTF-8 and UTF-16, any case and line ends, comments (``#``, ``//``) and decimal commas are read.

    Raises:
        InputError: it is not a BVH file, is damaged, or has too many frames.
    """
    size = require_file(path, "motion file", _MOST_FILE_BYTES)
    try:
        with path.open("rb") as file:
            text = _Text(file)
            head, complete = text.head()
            words = _Words(head, path.name)
            if not complete and size > _MOST_HEAD_BYTES:
                raise words.wrong(f"has no MOTION part in its first {_MOST_HEAD_BYTES >> 20} MB")
            if not complete or words.next().upper() != "HIERARCHY":
                raise InputError(f"{path.name} is not a complete BVH file: it has no HIERARCHY and MOTION parts.")
            names, parents, offsets, channels, tips = _hierarchy(words)
            values, fps = _frames(text, size, len(names), sum(len(c) for c in channels), words)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    rotations, positions = _animated(values, channels)
    rest = torch.tensor(offsets, dtype=torch.float64)
    for j in [j for j in positions if parents[j] >= 0]:
        if not positions[j].any():  # some programs write zeros beside an offset
            del positions[j]
        elif not rest[j].any():
            rest[j] = positions[j].median(0).values
    return Bvh(tuple(names), tuple(parents), rest, tips, rotations, positions, fps)


def _animated(values: torch.Tensor, channels: list[list[str]]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Return rotations (T, J, 3, 3) and joint -> positions (T, 3) of the frames (T, width)."""
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(values), len(channels), 1, 1)
    positions: dict[int, torch.Tensor] = {}
    column = 0
    for j, kinds in enumerate(channels):
        for kind in kinds:
            axis = "xyz".index(kind[0])
            if kind[1:] == "rotation":
                vector = torch.zeros(len(values), 3, dtype=torch.float64)
                vector[:, axis] = torch.deg2rad(values[:, column])
                rotations[:, j] = rotations[:, j] @ axis_angle_to_matrix(vector)
            else:
                at = positions.setdefault(j, torch.zeros(len(values), 3, dtype=torch.float64))
                at[:, axis] = values[:, column]
            column += 1
    return rotations, positions


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
        given = words.next()
        word = given.upper()
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
        elif word == "END":
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
            if any(k[:1] not in ("x", "y", "z") or k[1:] not in ("rotation", "position") for k in kinds):
                raise words.wrong("has channels other than rotations and positions")
            channels[stack[-1]] = kinds
        elif word == "}" and stack:
            stack.pop()
            if not stack:
                if words.more() and words.next().upper() == "ROOT":
                    raise InputError(f"{words.source} contains more than one skeleton (ROOT). Export one person alone.")
                return names, parents, offsets, channels, tips
        else:
            raise words.wrong(f"has the word {given[:30]!r} in an impossible place")


def _frames(text: _Text, size: int, joints: int, width: int, words: _Words) -> tuple[torch.Tensor, float]:
    """Read the MOTION part.

    Args:
        text: the file, after the word MOTION.
        size: size of the whole file, bytes.
        joints: joints of the skeleton.
        width: numbers per frame.
        words: reads the numbers of the file.

    Returns:
        (T, width) values and the frames per second.
    """
    count, step = -1, 0.0
    try:
        for _ in range(_MOST_LINES):
            line = text.line()
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
    if count * width > size // 2 + 1:  # a number takes at least a digit and a space
        raise words.wrong(f"announces {count:.6g} frames of {width} numbers but is too short for them")
    if count > MOST_FRAMES or count * joints > _MOST_ROTATIONS:
        most = min(MOST_FRAMES, _MOST_ROTATIONS // joints)
        raise InputError(f"{words.source} has {count} frames of {joints} joints; the limit is {most}. Cut it into parts.")
    values = np.empty(count * width)
    filled, rest = 0, ""
    rows = _Rows(count, width)
    while filled < len(values):
        piece = text.piece()
        found = (rest + piece).split()
        whole = not piece or piece[-1:].isspace()
        rest = "" if whole or not found else found.pop()
        found = found[: len(values) - filled]
        if len(rest) > _MOST_DIGITS or any(len(word) > _MOST_DIGITS for word in found):
            raise words.wrong("has text where numbers should be in its frames")
        try:
            values[filled : filled + len(found)] = np.array(found, dtype=np.float64) if found else ()
        except ValueError:
            raise words.wrong("has text where numbers should be in its frames") from None
        filled += len(found)
        rows.add(piece)
        if not piece and filled < len(values):
            raise words.wrong(f"announces {count} frames but contains {filled // width}")
    if rows.wrong:
        raise words.wrong(f"has {width} channels but a frame of {rows.wrong} numbers")
    if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST:
        raise words.wrong("has impossible numbers in its frames")
    return torch.from_numpy(values.reshape(count, width)), _rate(step)


class _Rows:
    """Finds lines that are no frames, in files with a frame a line.

    Attributes:
        wrong: how many numbers the first such line has; 0 = none was found.
    """

    def __init__(self, count: int, width: int) -> None:
        self.wrong = 0
        self._left, self._count, self._width = count, count, width

    def add(self, piece: str) -> None:
        """Look at some whole lines."""
        if not piece.endswith("\n") and len(piece) > _PIECE:  # a part of a line
            self._left = 0
        for line in piece.split("\n") if self._left and not self.wrong else ():
            numbers = len(line.split())
            if numbers and numbers != self._width:
                parts = self._left == self._count and (numbers < self._width or not numbers % self._width)
                self._left, self.wrong = 0, 0 if parts else numbers  # frames may be wrapped, or share a line
            elif numbers:
                self._left -= 1
            if not self._left:
                return


def _rate(step: float) -> float:
    """Return frames per second.

    Files round the frame time, so 0.041667 seconds mean 24.
    """
    fps = 1 / step
    return float(round(fps)) if abs(fps - round(fps)) < 1e-4 * fps else fps
