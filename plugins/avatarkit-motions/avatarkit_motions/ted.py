"""The TED Gesture Dataset (Yoon et al., 2019) as a ``MotionSource``: people who talk on a stage.

The dataset's own scripts find clips of each video in which the speaker is seen well and write them, with OpenPose's 2D points
of body, face and hands, as one JSON file per video. Those files are read here. The pickles that the same scripts write can run
code when they are opened and are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import InputError
from avatarkit.motion.formats.bvh import MOST_FRAMES
from avatarkit.motion.formats.pose_format import LandmarkTrack
from avatarkit.motion.lifting import landmark_motion
from avatarkit.types.body import Motion
from avatarkit.utils.files import read_text
from avatarkit.utils.paths import expand
from avatarkit.utils.plain import parse_json
from avatarkit_motions.config import TedConfig
from avatarkit_motions.segments import segment
from avatarkit_motions.source import BuiltinMotions, given_folder

__all__ = ["TedMotions", "read_clips"]

log = logging.getLogger("avatarkit.motions")

_MOST_BYTES = 64 << 20  # as values of Python they take ten times as much
_FARTHEST = 1e6  # pixels
_SHORTEST = 1.0  # seconds

# OpenPose's points (the same in its models of 18 and 25 points); of its face, 68 are those of the iBUG annotation.
_BODY = {2: "RIGHT_SHOULDER", 3: "RIGHT_ELBOW", 4: "RIGHT_WRIST", 5: "LEFT_SHOULDER", 6: "LEFT_ELBOW", 7: "LEFT_WRIST"}
_FACE = {36: "33", 45: "263", 0: "234", 16: "454", 30: "4", 62: "13", 66: "14"}
_HAND = ("WRIST", *(f"{f}_{k}" for f, ks in (
    ("THUMB", ("CMC", "MCP", "IP", "TIP")), *((f, ("MCP", "PIP", "DIP", "TIP")) for f in
    ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY"))) for k in ks))  # fmt: skip
_PARTS = (
    (("pose_keypoints_2d", "pose_keypoints"), {k: f"POSE_LANDMARKS:{n}" for k, n in _BODY.items()}),
    (("face_keypoints_2d", "face_keypoints"), {k: f"FACE_LANDMARKS:{n}" for k, n in _FACE.items()}),
    (
        ("hand_left_keypoints_2d", "hand_left_keypoints"),
        {k: f"LEFT_HAND_LANDMARKS:{n}" for k, n in enumerate(_HAND)},
    ),
    (
        ("hand_right_keypoints_2d", "hand_right_keypoints"),
        {k: f"RIGHT_HAND_LANDMARKS:{n}" for k, n in enumerate(_HAND)},
    ),
)
_NAMES = tuple(n for _, points in _PARTS for n in points.values())


def read_clips(path: Path, fps: float) -> list[LandmarkTrack]:
    """Return the clips of one video that the dataset's filter let pass.

    Args:
        path: of a JSON file: a list of ``{"clip_info": [first frame, last frame, passed], "frames": [{"pose_keypoints_2d": [x, y,
            confidence, ...], "face_keypoints_2d": ..., "hand_left_keypoints_2d": ..., "hand_right_keypoints_2d": ...} or []]}``.
        fps: frames per second of the videos; the files do not say.

    Raises:
        InputError: the file is something else, or damaged.
    """
    wrong = InputError(f"{path.name} is not a file of clips as the scripts of the TED Gesture Dataset write them.")
    try:
        clips = parse_json(read_text(path, "file of clips", _MOST_BYTES))
        passed = [clip["frames"] for clip in clips if clip["clip_info"][2] and len(clip["frames"]) >= _SHORTEST * fps]
        if any(len(frames) > MOST_FRAMES for frames in passed):
            raise wrong
        return [_track(frames, fps) for frames in passed]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise wrong from error


def _track(frames: list[Any], fps: float) -> LandmarkTrack:
    values = np.zeros((len(frames), len(_NAMES), 3), np.float32)
    for t, person in enumerate(frames):
        column = 0
        for keys, points in _PARTS:
            flat = next((person[k] for k in keys if k in person), None) if person else None
            if flat:
                found = np.asarray(flat, np.float64).reshape(-1, 3)
                found[~(np.abs(found) < _FARTHEST).all(1)] = 0  # no point at all
                values[t, column : column + len(points)] = found[list(points)]
            column += len(points)
    return LandmarkTrack(_NAMES, values[..., :2], values[..., 2], fps)


class TedMotions(BuiltinMotions):
    """Implements ``MotionSource``.

    A name is that of a video, ``NAME#3`` its third clip, or that of a built-in motion.
    """

    config: TedConfig

    @cached_property
    def _files(self) -> dict[str, Path]:
        folder = given_folder(self.config.path, "the clip files of the TED Gesture Dataset")
        found = sorted(p for p in folder.rglob("*.json") if not p.stem.endswith(("_aux_info", "_align_results")))
        if not found and next(folder.rglob("*.pickle"), None):
            raise InputError(
                f"{folder} holds pickles, which can run code when they are opened. Give the folder with the JSON files that the "
                "dataset's clip filter writes."
            )
        if not found:
            raise InputError(f"The folder {folder} holds no clip files (.json) of the TED Gesture Dataset.")
        return {p.stem: p for p in found}

    def names(self) -> tuple[str, ...]:
        """Return the built-in motions, then videos (none if the folder does not exist)."""
        there = bool(self.config.path) and expand(self.config.path).is_dir()
        return (*super().names(), *(self._files if there else ()))

    def describe(self, name: str) -> str:
        """Return one line about a motion.

        Raises:
            InputError: no such video, or its file is damaged.
        """
        if name in super().names():
            return super().describe(name)
        return f"{len(read_clips(self._path(name), self.config.video_fps))} clips"

    def motion(self, name: str) -> Motion:
        """Return one motion by name.

        Raises:
            InputError: there is no such motion, or it cannot be used.
        """
        if name in super().names():
            return super().motion(name)
        video, _, number = name.partition("#")
        clips = read_clips(self._path(video), self.config.video_fps)
        index = int(number) - 1 if number.isdecimal() and len(number) < 10 else 0 if not number else -1
        if not 0 <= index < len(clips):
            raise InputError(f"{video} has {len(clips)} clips that can be used; there is no {name!r}.")
        return self._motion(clips[index], name)

    def motions(self, count: int, seed: int) -> Iterator[Motion]:
        """Yield segments to make labels from, each from a clip chosen at random.

        Args:
            count: of motions.
            seed: the same seed gives the same motions, and a larger count only adds some.

        Raises:
            InputError: no clip can be used.
        """
        names = list(self._files)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            for k in rng.permutation(len(names)):
                found = self._any(names[int(k)], rng)
                if found is not None:
                    yield segment(found, self.config, rng, f"{names[int(k)]}-{number:03d}")
                    break
            else:
                raise InputError(f"No clip of the {len(names)} videos in {self.config.path} can be used.")

    def _any(self, name: str, rng: np.random.Generator) -> Motion | None:
        try:
            clips = read_clips(self._path(name), self.config.video_fps)
            return self._motion(clips[int(rng.integers(len(clips)))], name) if clips else None
        except InputError as error:
            log.warning("%s", error)
            return None

    def _motion(self, track: LandmarkTrack, name: str) -> Motion:
        return landmark_motion(track, self._solver, name, name)

    def _path(self, name: str) -> Path:
        if name not in self._files:
            raise InputError(f"There is no built-in motion {name!r}, and no such video in {self.config.path}.")
        return self._files[name]
