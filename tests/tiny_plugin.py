"""The tiny method as a plugin file, for tests of the core through the command line.

``TINY_DIES_AT=fit:1`` kills the process, as ``kill -9`` would, when ``fit`` is called for the first time; the others
are ``generate`` and ``pose``.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

from avatarkit.body import BodyParams, Motion
from avatarkit.hookspecs import Licence, hookimpl
from avatarkit.interfaces import Posed
from avatarkit.keypoints import Keypoints
from avatarkit.labels import LabelClip
from avatarkit.photo import Photo
from avatarkit.subject import Matte, Subject
from avatarkit.testing import method

_calls: Counter[str] = Counter()


def _called(name: str) -> None:
    _calls[name] += 1
    if os.environ.get("TINY_DIES_AT") == f"{name}:{_calls[name]}":
        os.kill(os.getpid(), signal.SIGKILL)


class Tracker(method.TinyTracker):
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
def register_matters(register: Any) -> None:
    register("tiny", target=f"{_METHOD}:TinyMatter")


@hookimpl
def register_keypoint_detectors(register: Any) -> None:
    register("tiny", target=f"{_METHOD}:TinyDetector")


@hookimpl
def register_body_models(register: Any) -> None:
    register("tiny", target="avatarkit.testing:TinyBody", licence=Licence("MIT", "made for tests"))


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
    register("tiny", target=f"{_METHOD}:TinyRgb")


@hookimpl
def register_renderers(register: Any) -> None:
    register("tiny", target="avatarkit.testing:ReferenceRenderer")


@hookimpl
def register_exporters(register: Any) -> None:
    register("tiny", target=f"{_METHOD}:TinyExporter", config=f"{_METHOD}:TinyExporterConfig")
