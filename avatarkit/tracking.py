"""Tracking as a tool of its own: a photo or a video becomes a motion."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from avatarkit.body import Motion
from avatarkit.camera import Camera, front_camera
from avatarkit.components import Components
from avatarkit.errors import InputError
from avatarkit.keypoints import Keypoints
from avatarkit.mesh import Mesh
from avatarkit.photo import read_photo
from avatarkit.pictures import overlay, save_png
from avatarkit.store import disk_errors
from avatarkit.video import VideoWriter, probe, read_frames

__all__ = ["Tracked", "relative", "track_file", "track_photo", "track_video", "write_overlay"]

MAX_SIDE = 1280  # pixels; landmarks gain nothing from more
_MAX_FPS = 60.0

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Tracked:
    """A body found in a photo or a video.

    Attributes:
        source: the file. motion: world poses, as seen by ``camera``; one frame for a photo.
        camera: of all frames. metrics: name -> number. warnings: sentences for the user.
        offsets: (V, 3) metres, displacement of the rest mesh that the shape space cannot reach, or None.
    """

    source: Path
    motion: Motion
    camera: Camera
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    offsets: torch.Tensor | None = None


def track_file(path: Path, components: Components, person: int | None, tell: Tell) -> Tracked:
    """A photo or a video, as its name says.

    Args:
        path: of the file. components: whose matter, detector, body and tracker work.
        person: which one, counted from 1 left to right, where a photo shows several. tell: shown to the user.

    Raises:
        InputError: the file cannot be used, or nobody is in it.
    """
    if _is_video(path):
        return track_video(path, components, tell)
    return track_photo(path, components, person, tell)


def _is_video(path: Path) -> bool:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind.startswith("video/") or kind == "image/gif" or path.suffix.lower() == ".mkv"


def track_photo(path: Path, components: Components, person: int | None, tell: Tell) -> Tracked:
    """Fits the body to one photo; the motion has one frame."""
    photo = read_photo(path)
    tell("finding the person", 0.0)
    keypoints = components.get("keypoints").detect((photo.image * 255).round().to(torch.uint8).numpy(), person)
    tell("cutting the person out", 0.1)
    matte = components.get("matter").matte(photo, keypoints)
    tell("fitting the body", 0.25)
    subject = components.get("tracker").fit(photo, matte, keypoints)
    motion = Motion(path.stem, 1.0, subject.params.batched())
    quality = subject.quality
    return Tracked(path, motion, subject.camera, quality.metrics, quality.warnings, subject.vertex_offsets)


def track_video(path: Path, components: Components, tell: Tell) -> Tracked:
    """Tracks one person through a video.

    Raises:
        InputError: the video cannot be read, or nobody is in it.
    """
    info = probe(path)
    fps = min(info.fps, _MAX_FPS)
    expected = info.frames or (round(info.duration * fps) if info.duration else None)
    size: list[tuple[int, int]] = []

    def images() -> Iterator[np.ndarray]:
        for number, (_, image) in enumerate(read_frames(path, fps, MAX_SIDE)):
            size[:] = [(image.shape[1], image.shape[0])]
            tell(f"looking at frame {number + 1}", min(0.7, 0.7 * number / expected) if expected else 0.0)
            yield image

    keypoints: list[Keypoints | None] = list(components.get("keypoints").detect_video(images()))
    seen = sum(k is not None for k in keypoints)
    if seen == 0:
        raise InputError(f"Nobody was found in {path.name}: the video must show one person from the front.")
    tell("fitting the body", 0.7)
    camera = front_camera(*size[0])
    motion = components.get("tracker").track(keypoints, None, fps, cameras=[camera] * len(keypoints))
    return Tracked(path, replace(motion, name=path.stem), camera, {"seen_percent": 100.0 * seen / len(keypoints)})


def relative(motion: Motion) -> Motion:
    """World poses -> displacements from where the person stood when first seen, as ``Motion`` says."""
    first = 0 if motion.valid is None else int(motion.valid.to(torch.uint8).argmax())
    translation = motion.params.translation
    return replace(motion, params=replace(motion.params, translation=translation - translation[first]))


def write_overlay(output: Path, tracked: Tracked, components: Components, tell: Tell) -> None:
    """The tracked body over the pictures: a video, or a PNG file for a photo.

    Raises:
        InputError, StoreError: the file cannot be written under this name.
    """
    renderer, body = components.get("renderer"), components.get("body")
    count = len(tracked.motion)

    def draw(image: torch.Tensor, index: int) -> torch.Tensor:
        mesh = Mesh(body.vertices(tracked.motion.params[index].batched(), tracked.offsets)[0], body.faces)
        return overlay(image, renderer, mesh, tracked.camera)

    if not _is_video(tracked.source):
        if output.suffix.lower() != ".png":
            raise InputError(f"The overlay of a photo is a picture: name it {output.stem}.png.")
        with disk_errors(output):
            save_png(output, draw(read_photo(tracked.source).image, 0))
        return
    with VideoWriter(output, tracked.camera.width, tracked.camera.height, tracked.motion.fps) as video:
        for index, (_, frame) in enumerate(read_frames(tracked.source, tracked.motion.fps, MAX_SIDE)):
            drawn = draw(torch.from_numpy(frame).float() / 255, min(index, count - 1))
            video.write((drawn.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
            tell(f"frame {index + 1} of {count}", min(1.0, (index + 1) / count))
