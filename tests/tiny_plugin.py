"""The tiny method as a plugin file, for tests of the core through the command line.

``TINY_DIES_AT=fit:1`` kills the process, as ``kill -9`` would, when ``fit`` is called for the first time; the others
are ``detect_video``, ``generate`` and ``pose``.
"""

from __future__ import annotations

import copy
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from avatarkit.hookspecs import FEATURES, License, hookimpl
from avatarkit.interfaces import Posed
from avatarkit.testing import method, tiny_subject
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Subject

_calls: Counter[str] = Counter()


def _called(name: str) -> None:
    _calls[name] += 1
    if os.environ.get("TINY_DIES_AT") == f"{name}:{_calls[name]}":
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def _person(size: int) -> Subject:
    return tiny_subject(size=size)


class Detector(method.TinyDetector):
    """Finds the tiny person wherever they stepped."""

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        _called("detect_video")
        for image in images:
            person = _person(image.shape[1])
            step = (_center(image) - _center(person.photo.to_uint8())).astype(np.float32)
            points = {name: p + step for name, p in person.keypoints.points.items()}
            yield None if image.std() < 1 else replace(person.keypoints, points=points)


def _center(image: np.ndarray) -> np.ndarray:
    """(2,) x and y in the middle of all that is not the green wall."""
    y, x = (np.abs(image.astype(int) - (26, 128, 51)).sum(-1) > 60).nonzero()
    return np.array([x.mean(), y.mean()]) if len(x) else np.zeros(2)


class MattingModel(method.TinyMatting):
    """Not fooled by what compression leaves around the person."""

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        found = super().matte(photo, keypoints)
        wall = torch.tensor([0.1, 0.5, 0.2])
        return replace(found, alpha=((photo.image - wall).abs().sum(-1) > 0.3).float())


class Rgb(method.TinyRgb):
    """Measures as well as trains, and has a variant that measures better."""

    name = "tiny-rgb-for-training"

    def for_evaluation(self) -> Rgb:
        best = copy.copy(self)
        best.name = "tiny-rgb"
        return best

    def distance(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (prediction - target).abs().mean((1, 2, 3))


class Tracker(method.TinyTracker):
    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[np.ndarray] | None = None,
    ) -> Motion:
        """A person who steps aside is followed."""
        motion = super().track(frames, subject, fps, initial, cameras, images)
        for k, frame in enumerate(frames):
            if frame is not None:
                truth = _person(frame.width)
                meters = -float(truth.params.translation[2]) / float(truth.camera.K[0, 0])
                name = next(iter(truth.keypoints.points))
                x, y = (frame.points[name] - truth.keypoints.points[name]).mean(0).tolist()
                motion.params.translation[k] += meters * torch.tensor([x, -y, 0.0])
        return motion

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        _called("fit")
        return super().fit(photo, matte, keypoints)


class Labeler(method.TinyLabeler):
    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        _called("generate")
        return super().generate(subject, motion, seed)


class Avatar(method.TinyAvatar):
    def pose(self, params: BodyParams) -> Posed:
        _called("pose")
        return super().pose(params)


_HERE = __name__ if __name__ != "__main__" else "tiny_plugin"
_METHOD = "avatarkit.testing.method"


@hookimpl
def register_matting_models(register: Any) -> None:
    register("tiny", target=f"{_HERE}:MattingModel")


@hookimpl
def register_keypoint_detectors(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Detector")


@hookimpl
def register_body_models(register: Any) -> None:
    register("tiny", target="avatarkit.testing:TinyBody", license=License("MIT", "made for tests"))


@hookimpl
def register_trackers(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Tracker", config=f"{_METHOD}:TinyTrackerConfig")


@hookimpl
def register_motion_sources(register: Any) -> None:
    register("tiny", target=f"{_METHOD}:TinyMotions")


@hookimpl
def register_pseudo_labelers(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Labeler", config=f"{_METHOD}:TinyLabelerConfig")


@hookimpl
def register_avatars(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Avatar", config=f"{_METHOD}:TinyAvatarConfig")


@hookimpl
def register_losses(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Rgb")


@hookimpl
def register_renderers(register: Any) -> None:
    register("tiny", target="avatarkit.testing:ReferenceRenderer", features=FEATURES)


@hookimpl
def register_exporters(register: Any) -> None:
    register("tiny", target=f"{_METHOD}:TinyExporter", config=f"{_METHOD}:TinyExporterConfig")
