"""A whole method in one small plugin, for tests of the core: it knows one synthetic person and draws them slowly.

``TINY_DIES_AT=fit:1`` kills the process, as ``kill -9`` would, when ``fit`` is called for the first time; the others
are ``generate`` and ``pose``.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avatarkit.body import BodyParams, Motion
from avatarkit.errors import InputError, StoreError
from avatarkit.gaussians import Gaussians
from avatarkit.hookspecs import Licence, hookimpl
from avatarkit.interfaces import Context, ParameterGroup, Posed, TrainStep
from avatarkit.keypoints import Keypoints
from avatarkit.labels import LabelClip
from avatarkit.mesh import Mesh
from avatarkit.photo import Photo
from avatarkit.subject import Matte, Quality, Subject
from avatarkit.testing import tiny_motion, tiny_subject

SIZE = 64
EVERY = 4  # vertices without a Gaussian of their own, but for one
_calls: Counter[str] = Counter()


def _called(name: str) -> None:
    _calls[name] += 1
    if os.environ.get("TINY_DIES_AT") == f"{name}:{_calls[name]}":
        os.kill(os.getpid(), signal.SIGKILL)


class Detector:
    def __init__(self, config: Any, context: Context) -> None:
        self.truth = tiny_subject(size=SIZE).keypoints

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        if image.std() < 1:
            raise InputError("Nobody is in the picture.")
        return self.truth

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        for image in images:
            yield None if image.std() < 1 else self.truth


class Matter:
    """Everything but the green wall is the person."""

    def __init__(self, config: Any, context: Context) -> None: ...

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        wall = torch.tensor([0.1, 0.5, 0.2])
        return Matte(((photo.image - wall).abs().sum(-1) > 0.02).float(), photo.image)


@dataclass(frozen=True)
class TrackerConfig:
    shift: float = 0.0
    """Metres to the side."""


class Tracker:
    def __init__(self, config: TrackerConfig, context: Context) -> None:
        self.config, self.body = config, context.get("body")

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        _called("fit")
        truth = tiny_subject(size=SIZE)
        shift = torch.tensor([self.config.shift, 0.0, 0.0])
        params = replace(truth.params, translation=truth.params.translation + shift)
        quality = Quality({"mask_iou": 1.0}, {"face": True, "legs": True}, ("This person is synthetic.",))
        return replace(truth, photo=photo, matte=matte, keypoints=keypoints, params=params, quality=quality)

    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: Any = None,
        cameras: Any = None,
    ) -> Motion:
        still = tiny_subject(size=SIZE).params if subject is None else subject.params
        valid = torch.tensor([frame is not None for frame in frames])
        moving = {k: getattr(still, k).expand(len(frames), *getattr(still, k).shape).clone()
                  for k in ("expression", "root", "translation", "joints")}  # fmt: skip
        return Motion("tracked", fps, replace(still, **moving), valid=valid)


class Motions:
    def __init__(self, config: Any, context: Context) -> None: ...

    def names(self) -> tuple[str, ...]:
        return ("tiny",)

    def describe(self, name: str) -> str:
        return "an arm that swings"

    def motion(self, name: str) -> Motion:
        if name != "tiny":
            raise InputError(f"There is no motion {name!r}.")
        return tiny_motion(frames=2)

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        return [replace(tiny_motion(frames=2), name=f"tiny {i}") for i in range(count)]


@dataclass(frozen=True)
class LabelerConfig:
    region: Literal["body", "head"] = "body"
    """What the frames show."""


class Labeler:
    """Grey pictures of the moving body."""

    exact = True

    def __init__(self, config: LabelerConfig, context: Context) -> None:
        self.region, self.body, self.renderer = config.region, context.get("body"), context.get("renderer")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        _called("generate")
        params = replace(motion.params, translation=motion.params.translation + subject.params.translation)
        vertices = self.body.vertices(params)
        masks = [self.renderer.meshes.render(Mesh(v, self.body.faces), subject.camera).mask for v in vertices]
        alpha = (torch.stack(masks).clamp(0, 1) * 255).to(torch.uint8)
        frames = alpha[..., None].expand(-1, -1, -1, 3).contiguous() // 2
        cameras = (subject.camera,) * len(motion)
        return LabelClip(motion.name, self.region, frames, alpha, alpha, params, params, cameras)


@dataclass(frozen=True)
class AvatarConfig:
    scale: float = 0.05
    """Of every Gaussian, in metres."""


class Avatar:
    """A Gaussian on every vertex, of a colour that is learnt."""

    def __init__(self, config: AvatarConfig, context: Context) -> None:
        self.scale, self.body = config.scale, context.get("body")
        self.colors = torch.zeros(0, 3)
        self.shape = torch.zeros(1)

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        count = len(self.body.vertices(subject.params)[0][::EVERY])
        self.colors = torch.full((count, 3), 0.5, requires_grad=True)
        self.shape = subject.params.shape

    def pose(self, params: BodyParams) -> Posed:
        _called("pose")
        mesh = Mesh(self.body.vertices(replace(params, shape=self.shape))[0], self.body.faces)
        vertices = mesh.vertices[::EVERY]
        scales = torch.full((len(vertices),), self.scale)
        gaussians = Gaussians(vertices, scales, self.colors, torch.full((len(vertices),), 0.9))
        return Posed(gaussians, mesh)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("colors", (self.colors,), 0.1)]

    def state(self) -> dict[str, torch.Tensor]:
        return {"colors": self.colors.detach().clone(), "shape": self.shape.clone()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        if "colors" not in state:
            raise StoreError("colors are missing")
        self.colors, self.shape = state["colors"].clone().requires_grad_(), state["shape"]


class Rgb:
    def __init__(self, config: Any, context: Context) -> None: ...

    def __call__(self, step: TrainStep) -> torch.Tensor:
        return (step.rendering.rgb - step.target).abs().mean()


@dataclass(frozen=True)
class ExporterConfig:
    title: str = "nobody"
    """Who it is."""


class Exporter:
    """Writes where the Gaussian is that is farthest to the left of the person."""

    def __init__(self, config: ExporterConfig, context: Context) -> None:
        self.config = config

    def write(self, avatar: Avatar, params: BodyParams, path: Path, **options: Any) -> None:
        means = avatar.pose(params).gaussians.means
        hand = means[means[:, 0].argmax()].tolist()
        path.write_text(json.dumps({"title": self.config.title, "hand": hand, **options}))


_HERE = __name__ if __name__ != "__main__" else "tiny_plugin"


@hookimpl
def register_matters(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Matter")


@hookimpl
def register_keypoint_detectors(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Detector")


@hookimpl
def register_body_models(register: Any) -> None:
    register("tiny", target="avatarkit.testing:TinyBody", licence=Licence("MIT", "made for tests"))


@hookimpl
def register_trackers(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Tracker", config=f"{_HERE}:TrackerConfig")


@hookimpl
def register_motion_sources(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Motions")


@hookimpl
def register_pseudo_labelers(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Labeler", config=f"{_HERE}:LabelerConfig")


@hookimpl
def register_avatars(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Avatar", config=f"{_HERE}:AvatarConfig")


@hookimpl
def register_losses(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Rgb")


@hookimpl
def register_renderers(register: Any) -> None:
    register("tiny", target="avatarkit.testing:ReferenceRenderer")


@hookimpl
def register_exporters(register: Any) -> None:
    register("tiny", target=f"{_HERE}:Exporter", config=f"{_HERE}:ExporterConfig")
