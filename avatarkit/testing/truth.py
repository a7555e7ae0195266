"""Synthetic people whose pose, camera and landmarks are known: who they are, how they stand, what a detector would say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from avatarkit.errors import ConfigError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.hookspecs import License, hookimpl
from avatarkit.interfaces import BodyModel, Context
from avatarkit.io.image import load_png
from avatarkit.labelling.poses import joint_positions
from avatarkit.registry import Registry
from avatarkit.storage.serialization import load_keypoints
from avatarkit.types.body import BodyParams, SurfaceLandmarks
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import barycentric
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte

__all__ = [
    "CROPS",
    "SETS",
    "Noise",
    "TruthConfig",
    "TruthDetector",
    "TruthMattingModel",
    "aimed",
    "framed",
    "landmark_places",
    "seen_keypoints",
    "stranger",
    "truth_registry",
    "uniform",
]

SETS = {"face478": 478, "pose33": 33, "hand21_left": 21, "hand21_right": 21}
"""Landmark set -> number of points."""

CROPS = {
    "bust": (640, 640, 0.75, 0.85),
    "half": (640, 720, 1.15, 0.90),
    "thighs": (640, 800, 1.30, 1.00),
    "knees": (576, 832, 1.60, 0.95),
    "whole": (640, 960, 2.1, 0.95),
}
"""What a picture shows: pixels, meters of its height, and meters of its upper edge above the root joint (the pelvis)."""

BUILD = ("gender", "muscle", "weight", "proportions")
_HAND_SHOWN = 0.8  # part of a hand's points in the picture from which detectors find it

Random = torch.Generator


def uniform(random: Random, low: float, high: float) -> float:
    """Return a random number between two bounds."""
    return low + (high - low) * float(torch.rand((), generator=random))


def stranger(body: BodyModel, random: Random, alike: bool = False) -> torch.Tensor:
    """Return a random shape (S,): a build, and small signed changes that are equal left and right.

    Args:
        body: the model.
        random: the generator to draw from.
        alike: leave the changes out, so that people differ in build alone.
    """
    shape = body.neutral().shape
    build = shape != 0
    for name in BUILD:
        shape[body.shape_names.index(name)] = uniform(random, 0.2, 0.8)
    change = 0.15 * torch.randn(len(shape), generator=random)
    for k, name in enumerate(body.shape_names):
        if name.startswith("r-") and "l-" + name[2:] in body.shape_names:
            change[k] = change[body.shape_names.index("l-" + name[2:])]
    return torch.where(build, shape, torch.zeros_like(change) if alike else change.clamp(-0.5, 0.5))


def framed(params: BodyParams, crop: str) -> tuple[BodyParams, Camera]:
    """Move a person to where the camera of a crop (see ``CROPS``) sees them; return both."""
    width, height, tall, top = CROPS[crop]
    camera = front_camera(width, height)
    distance = tall * float(camera.K[1, 1]) / height
    middle = top - tall / 2
    return replace(params, translation=params.translation + torch.tensor([0.0, -middle, -distance])), camera


Direction = tuple[float, float, float]


def aimed(body: BodyModel, params: BodyParams, arms: Mapping[str, tuple[Direction, Direction]]) -> BodyParams:
    """Points the arms of one frame; they turn the shortest way from the rest pose.

    Args:
        body: the model, with pose groups named as SMPL-X names joints.
        params: one frame whose spine and collars are at rest.
        arms: side -> direction of the upper arm and of the forearm, x to the person's left, y up, z ahead.
    """
    groups = {g.name: g for g in body.pose_groups}
    places = body.skeleton(params.shape).positions
    joints = params.joints.clone()
    for side, (upper, lower) in arms.items():
        shoulder, elbow, wrist = (groups[f"{side}_{name}"].joints[0] for name in ("shoulder", "elbow", "wrist"))
        first = _shortest(places[elbow] - places[shoulder], torch.tensor(upper))
        second = _shortest(places[wrist] - places[elbow], first.T @ torch.tensor(lower))
        for name, turn in (("shoulder", first), ("elbow", second)):
            group = groups[f"{side}_{name}"]
            for j, share in zip(group.joints, group.share, strict=True):
                joints[j] = share * matrix_to_axis_angle(turn)
    return replace(params, joints=joints)


def _shortest(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """(3, 3) the smallest rotation that takes one direction to another."""
    a, b = (v / v.norm() for v in (start, end))
    axis = torch.linalg.cross(a, b)
    angle = torch.atan2(axis.norm(), a @ b)
    return axis_angle_to_matrix(axis / axis.norm().clamp(min=1e-9) * angle)


def landmark_places(body: BodyModel, params: BodyParams) -> dict[str, torch.Tensor]:
    """Return the places (n, 3) of each set of ``SETS`` in the world for one frame, nan where the body has no such point."""
    frame = params.batched()
    out = {}
    for name, count in SETS.items():
        table = body.landmarks(name)
        if table is None:
            continue
        if isinstance(table, SurfaceLandmarks):
            out[name] = barycentric(body.vertices(frame)[0], table.triangles, table.barycentric)
        else:
            out[name] = joint_positions(body, frame, table, count)[0]
    return out


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a detector's errors; zero = exact.

    Attributes:
        face: of the head's height. body: meters. hand: meters. depth: meters, of the rough 3D.
    """

    face: float = 0.0
    body: float = 0.0
    hand: float = 0.0
    depth: float = 0.0


def seen_keypoints(
    places: Mapping[str, torch.Tensor], root: torch.Tensor, camera: Camera, noise: Noise, random: Random
) -> Keypoints:
    """Return what a detector would say of landmarks in the world; hands outside the picture are not seen.

    Args:
        places: see ``landmark_places``; ``face478`` is among them.
        root: (3,) where the root joint is.
        camera: of the picture.
        noise: of the detector.
        random: the generator of the noise.
    """
    face = camera.project(places["face478"])
    head = float((face.amax(0) - face.amin(0)).norm()) / 1.45
    meter = float(camera.K[0, 0]) / float(camera.to_camera(places["face478"])[:, 2].mean())
    points, scores, rough = {}, {}, {}
    for name, place in places.items():
        sigma = noise.face * head if name == "face478" else meter * (noise.body if name == "pose33" else noise.hand)
        known = ~place.isnan().any(1)
        pixels = camera.project(place) + sigma * torch.randn(len(place), 2, generator=random)
        inside = ((pixels >= 0) & (pixels < torch.tensor([camera.width, camera.height]))).all(1) & known
        if name.startswith("hand") and inside.float().mean() < _HAND_SHOWN:
            continue
        points[name] = torch.where(known[:, None], pixels, 0.0).numpy().astype(np.float32)
        scores[name] = inside.numpy().astype(np.float32)
        if name == "pose33":
            axes = camera.to_camera(place) - camera.to_camera(root[None])
            depth = axes + noise.depth * torch.randn(axes.shape, generator=random)
            rough[name] = torch.where(known[:, None], depth, 0.0).numpy().astype(np.float32)
    return Keypoints(camera.width, camera.height, points, scores, rough, (0.0, 0.0, camera.width, camera.height))


# ----------------------------------------------------------------------------- components that know what a picture shows


@dataclass(frozen=True)
class TruthConfig:
    """Options of the components ``truth``."""

    folder: Path | None = None
    """Where ``cutout.png`` (straight alpha) and the saved landmarks of the picture are."""


def _folder(config: TruthConfig) -> Path:
    if config.folder is None:
        raise ConfigError("The component truth needs its option folder.")
    return config.folder


class TruthDetector:
    """Gives the landmarks that were saved with a synthetic picture."""

    def __init__(self, config: TruthConfig, context: Context) -> None:
        self._folder = _folder(config)

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        """Return the picture's landmarks."""
        found = load_keypoints(self._folder / "landmarks.safetensors")[0]
        assert found is not None and image.shape[:2] == (found.height, found.width)
        return found

    def detect_video(self, images: Any) -> Any:
        """Return the same landmarks for each frame."""
        return (self.detect(image) for image in images)


class TruthMattingModel:
    """Gives the matte that was saved with a synthetic picture."""

    def __init__(self, config: TruthConfig, context: Context) -> None:
        self._folder = _folder(config)

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        """Return the picture's matte and foreground colors."""
        cutout = load_png(self._folder / "cutout.png")
        assert cutout.shape == (photo.height, photo.width, 4)
        return Matte(cutout[..., 3].contiguous(), cutout[..., :3].contiguous())


def truth_registry() -> Registry:
    """Return the installed plugins, with ``truth`` as a matte and a detector of landmarks."""
    plugin = ModuleType("truth")

    def hook(target: str) -> Any:
        def register_truth(register: Any) -> None:
            license = License("MIT", "made for tests")
            config = f"{__name__}:TruthConfig"
            register("truth", target=f"{__name__}:{target}", config=config, summary="made for tests", license=license)

        return hookimpl(register_truth)

    plugin.register_matting_models = hook("TruthMattingModel")  # type: ignore[attr-defined]
    plugin.register_keypoint_detectors = hook("TruthDetector")  # type: ignore[attr-defined]
    registry = Registry.load()
    registry.add(plugin, "truth")
    return registry
