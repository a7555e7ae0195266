"""A small method for tests: each slot has a component for one synthetic person, rendered slowly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from avatarkit.config import Recipe
from avatarkit.errors import InputError, StoreError
from avatarkit.hookspecs import FEATURES, License, hookimpl
from avatarkit.interfaces import Context, ParameterGroup, Posed, TensorSpec, TrainStep
from avatarkit.io.image import save_png
from avatarkit.pipeline.build import build
from avatarkit.registry import KINDS, Registry
from avatarkit.testing.tiny import tiny_motion, tiny_subject
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.speech import Cue, Sound, Viseme
from avatarkit.types.subject import Matte, Notice, Quality, Subject
from avatarkit.utils.files import write_text

__all__ = [
    "TINY_RECIPE",
    "TinyAvatar",
    "TinyDetector",
    "TinyExporter",
    "TinyLabeler",
    "TinyMatting",
    "TinyMotions",
    "TinyRgb",
    "TinyTracker",
    "memory_registry",
    "tiny_build",
]

SIZE = 64
EVERY = 4  # one of so many vertices has a Gaussian

TINY_RECIPE: dict[str, Any] = {
    **{slot: {"use": "tiny"} for slot in ("matting", "keypoints", "body", "tracker", "motions", "avatar", "renderer")},
    "body_labels": {"use": "tiny"},
    "head_labels": {"use": "tiny", "region": "head"},
    "losses": {"rgb": {"use": "tiny", "weight": 1.0, "on": ["photo"]}},
    "labels": {"body_clips": 1, "head_clips": 1},
    "training": {"steps": 9, "photo_share": 0.9, "resolution": 32, "checkpoint_every": 3},
    "preview": {"height": 32, "seconds": 0.4, "fps": 5, "motion": "tiny"},
}
"""A recipe as plain tables: every slot contains ``tiny``, and a build takes a second or two."""


class TinyDetector:
    """Returns the tiny person's joints; finds no person in a uniform picture."""

    def __init__(self, config: Any, context: Context) -> None:
        self.context = context

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        if image.std() < 1:
            raise InputError("The picture shows no person.")
        return tiny_subject(self.context, image.shape[1]).keypoints

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterable[Keypoints | None]:
        for image in images:
            yield None if image.std() < 1 else self.detect(image)


class TinyMatting:
    """Separates the person from the green background."""

    def __init__(self, config: Any, context: Context) -> None: ...

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        wall = torch.tensor([0.1, 0.5, 0.2])
        if float(photo.image.std()) < 0.01:
            raise InputError("The picture shows no person.")
        return Matte(((photo.image - wall).abs().sum(-1) > 0.02).float(), photo.image)


@dataclass(frozen=True)
class TinyTrackerConfig:
    shift: float = 0.0
    """Displacement to the side, in meters."""


class TinyTracker:
    """Returns the tiny person's parameters."""

    def __init__(self, config: TinyTrackerConfig, context: Context) -> None:
        self.config, self.context = config, context

    def fit(self, photo: Photo, matte: Matte, keypoints: Keypoints) -> Subject:
        truth = tiny_subject(self.context, photo.width)
        shift = torch.tensor([self.config.shift, 0.0, 0.0])
        params = replace(truth.params, translation=truth.params.translation + shift)
        quality = Quality({"mask_iou": 1.0}, {"face": True, "legs": True}, (Notice("other", "This person is synthetic."),))
        return replace(truth, photo=photo, matte=matte, keypoints=keypoints, params=params, quality=quality)

    def track(
        self,
        frames: Sequence[Keypoints | None],
        subject: Subject | None,
        fps: float,
        initial: BodyParams | None = None,
        cameras: Sequence[Camera] | None = None,
        images: Iterable[np.ndarray] | None = None,
    ) -> Motion:
        still = tiny_subject(self.context, size=SIZE).params if subject is None else subject.params
        valid = torch.tensor([frame is not None for frame in frames])
        moving = {k: getattr(still, k).expand(len(frames), *getattr(still, k).shape).clone()
                  for k in ("expression", "root", "translation", "joints")}  # fmt: skip
        return Motion("tracked", fps, replace(still, **moving), valid=valid)


class TinyMotions:
    """One motion."""

    def __init__(self, config: Any, context: Context) -> None:
        self.context = context

    def names(self) -> tuple[str, ...]:
        return ("tiny",)

    def describe(self, name: str) -> str:
        return "an arm that swings"

    def motion(self, name: str) -> Motion:
        if name != "tiny":
            raise InputError(f"There is no motion {name!r}.")
        return tiny_motion(self.context.get("body"), frames=2)

    def motions(self, count: int, seed: int) -> Iterable[Motion]:
        return [replace(self.motion("tiny"), name=f"tiny {i}") for i in range(count)]


class TinySpeaker:
    """Opens the first expression while a sound lasts."""

    def __init__(self, config: None, context: Context) -> None:
        self.context = context

    def drive(
        self, sound: Sound, text: str | Sequence[Cue] | None = None, fps: float = 30.0, seed: int = 0, style: str = "lively"
    ) -> tuple[Sequence[Viseme], Motion]:
        motion = tiny_motion(self.context.get("body"), frames=max(2, round(sound.seconds * fps)))
        return [Viseme(0.0, sound.seconds, "aa", 0.5)], replace(motion, name=sound.name, fps=fps)


class TinySynthesizer:
    """Hums a tenth of a second for each letter."""

    def __init__(self, config: None, context: Context) -> None: ...

    def voices(self) -> Mapping[str, str]:
        return {"hum": "en-us", "summ": "de"}

    def synthesize(self, text: str, voice: str | None = None) -> Sound:
        if voice is not None and voice not in self.voices():
            raise InputError(f"There is no voice {voice!r}.")
        t = np.arange(round(1600 * sum(map(str.isalnum, text)))) / 16_000
        return Sound((0.3 * np.sin(2 * np.pi * 150 * t)).astype(np.float32))


@dataclass(frozen=True)
class TinyLabelerConfig:
    region: Literal["body", "head"] = "body"
    """What the frames show: ``body`` or ``head``."""


class TinyLabeler:
    """Renders gray pictures of the moving body."""

    exact = True

    def __init__(self, config: TinyLabelerConfig, context: Context) -> None:
        self.region, self.body, self.renderer = config.region, context.get("body"), context.get("renderer")

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        params = replace(motion.params, translation=motion.params.translation + subject.params.translation)
        vertices = self.body.vertices(params)
        masks = [self.renderer.meshes.render(Mesh(v, self.body.faces), subject.camera).mask for v in vertices]
        alpha = (torch.stack(masks).clamp(0, 1) * 255).to(torch.uint8)
        frames = alpha[..., None].expand(-1, -1, -1, 3).contiguous() // 2
        cameras = (subject.camera,) * len(motion)
        return LabelClip(motion.name, self.region, frames, alpha, alpha, params, params, cameras)


@dataclass(frozen=True)
class TinyAvatarConfig:
    scale: float = 0.05
    """Standard deviation of every Gaussian, in meters."""


class TinyAvatar:
    """A Gaussian at every vertex, with learned colors."""

    def __init__(self, config: TinyAvatarConfig, context: Context) -> None:
        self.scale, self.body = config.scale, context.get("body")
        self.colors = torch.zeros(0, 3)
        self.shape = torch.zeros(1)

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        count = len(self.body.vertices(subject.params)[0][::EVERY])
        self.colors = torch.full((count, 3), 0.5, requires_grad=True)
        self.shape = subject.params.shape

    def pose(self, params: BodyParams) -> Posed:
        mesh = Mesh(self.body.vertices(replace(params, shape=self.shape))[0], self.body.faces)
        vertices = mesh.vertices[::EVERY]
        scales = torch.full((len(vertices),), self.scale)
        gaussians = Gaussians(vertices, scales, self.colors, torch.full((len(vertices),), 0.9))
        return Posed(gaussians, mesh)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("colors", (self.colors,), 0.1)]

    def state(self) -> dict[str, torch.Tensor]:
        return {"colors": self.colors.detach().clone(), "shape": self.shape.clone()}

    def specs(self) -> dict[str, TensorSpec]:
        N, S = len(self.body.skinning_weights[::EVERY]), len(self.body.shape_names)
        return {"colors": TensorSpec((N, 3), low=-100, high=100), "shape": TensorSpec((S,), low=-100, high=100)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        for name in ("colors", "shape"):
            if name not in state:
                raise StoreError(f"{name} is missing")
        self.colors, self.shape = state["colors"].clone().requires_grad_(), state["shape"]


class TinyRgb:
    """L1 distance between picture and rendering."""

    def __init__(self, config: Any, context: Context) -> None: ...

    def __call__(self, step: TrainStep) -> torch.Tensor:
        return (step.rendering.rgb - step.target).abs().mean()


@dataclass(frozen=True)
class TinyExporterConfig:
    title: str = "nobody"
    """Title of the file."""


class TinyExporter:
    """Writes the position of the Gaussian farthest to the person's left."""

    def __init__(self, config: TinyExporterConfig, context: Context) -> None:
        self.config = config

    def write(self, avatar: TinyAvatar, params: BodyParams, path: Path, **options: Any) -> None:
        means = avatar.pose(params).gaussians.means
        hand = means[means[:, 0].argmax()].tolist()
        write_text(path, json.dumps({"title": self.config.title, "hand": hand, "consent": options.get("consent")}))


def _tiny_plugin() -> ModuleType:
    """Return all of these components as one plugin."""
    here, tiny = __name__, "avatarkit.testing.tiny"
    targets = {
        "matting": (f"{here}:TinyMatting", None),
        "keypoints": (f"{here}:TinyDetector", None),
        "body": (f"{tiny}:TinyBody", None),
        "tracker": (f"{here}:TinyTracker", f"{here}:TinyTrackerConfig"),
        "motions": (f"{here}:TinyMotions", None),
        "speech": (f"{here}:TinySpeaker", None),
        "synthesizer": (f"{here}:TinySynthesizer", None),
        "labels": (f"{here}:TinyLabeler", f"{here}:TinyLabelerConfig"),
        "avatar": (f"{here}:TinyAvatar", f"{here}:TinyAvatarConfig"),
        "loss": (f"{here}:TinyRgb", None),
        "renderer": (f"{tiny}:ReferenceRenderer", None),
        "exporter": (f"{here}:TinyExporter", f"{here}:TinyExporterConfig"),
    }

    def hook(kind: str, target: str, config: str | None) -> Any:
        about = {"summary": "made for tests", "license": License("MIT", "made for tests")}
        about |= {"features": FEATURES} if kind == "renderer" else {}

        def register_tiny(register: Any) -> None:
            register("tiny", target=target, config=config, **about)

        return hookimpl(register_tiny)

    plugin = ModuleType("tiny")
    for kind, paths in targets.items():
        setattr(plugin, KINDS[kind], hook(kind, *paths))
    return plugin


def memory_registry(*plugins: Any) -> Registry:
    """Return a registry with ``tiny`` of every kind and with ``plugins``.

    Installed plugins are not loaded.

    Args:
        plugins: modules with hooks.

    Raises:
        PluginError: a plugin is broken.
    """
    registry = Registry.load(environ={"AVATARKIT_PLUGINS": ""})
    registry.add(_tiny_plugin(), "tiny")
    for plugin in plugins:
        registry.add(plugin, plugin.__name__)
    return registry


def tiny_build(folder: Path, *plugins: Any, **tables: Mapping[str, Any]) -> Path:
    """Build a tiny avatar with ``plugins``, as ``avatarkit build`` would.

    Args:
        folder: where to write ``tiny.png`` and ``tiny.avatar``.
        plugins: modules with hooks.
        tables: tables of the recipe, over ``TINY_RECIPE``: ``body_labels={"use": "mine"}``, ``losses={"mine": {"use": "mine",
            "weight": 0.1}}``. A table that names another component replaces the options too.

    Returns:
        The avatar's folder, for ``avatarkit.load(path, registry=memory_registry(...))``.
    """
    recipe = {**TINY_RECIPE}
    for name, table in tables.items():
        below = {} if "use" in table else TINY_RECIPE.get(name, {})
        recipe[name] = {**below, **table}
    photo = folder / "tiny.png"
    save_png(photo, tiny_subject(size=SIZE).photo.image)
    registry = memory_registry(*plugins)
    return build(photo, folder / "tiny.avatar", recipe=Recipe.from_dict(recipe, "test"), registry=registry, device="cpu")
