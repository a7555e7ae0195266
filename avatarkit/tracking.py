"""Tracks a photo or a video and returns a motion."""

from __future__ import annotations

import mimetypes
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarkit.components import Components
from avatarkit.errors import InputError
from avatarkit.interfaces import BodyModel
from avatarkit.io.image import overlay, save_png
from avatarkit.io.keypoint_cache import KeypointFiles
from avatarkit.io.photo import read_photo
from avatarkit.io.video import VideoWriter, check_length, probe, read_frames
from avatarkit.storage.stage_cache import content_key
from avatarkit.types.body import JointLandmarks, Motion
from avatarkit.types.camera import Camera, front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Subject
from avatarkit.validation import require_keypoints, require_matte, require_subject

__all__ = ["MAX_SIDE", "Tracked", "fit_photo", "relative", "track_file", "track_photo", "track_video", "write_overlay"]

MAX_SIDE = 1280  # pixels; larger frames do not improve landmarks
_MAX_FPS = 60.0
_FEW = 0.35  # of the frames; a body detected in fewer may be an error
_OFTEN = 0.25  # of the frames with a person: other people in fewer frames are passers-by or errors

Tell = Callable[[str, float], None]
Check = Callable[..., None]


def _unchecked(slot: str, contract: Callable[..., None], *values: Any) -> None:
    """Accept every result."""


@dataclass(frozen=True)
class Tracked:
    """A body found in a photo or a video.

    Attributes:
        source: the file.
        motion: world poses, as seen by ``camera``; one frame for a photo.
        camera: camera of all frames.
        metrics: name -> number.
        warnings: sentences for the user.
        offsets: (V, 3) meters, displacement of the rest mesh beyond the shape space, or None.
    """

    source: Path
    motion: Motion
    camera: Camera
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    offsets: torch.Tensor | None = None


def track_file(path: Path, components: Components, person: int | None, tell: Tell, work: Path | None = None) -> Tracked:
    """Track a photo or a video; the file's suffix decides which.

    Args:
        path: the file.
        components: components whose matting model, detector, body and tracker are used.
        person: number of the person, counted from 1 left to right, if a photo shows several.
        tell: receives progress reports.
        work: folder for the landmarks of a video until they are no longer needed, see ``track_video``.

    Raises:
        InputError: the file cannot be used, or shows no person.
    """
    if _is_video(path):
        return track_video(path, components, tell, work)
    return track_photo(path, components, person, tell)


def _is_video(path: Path) -> bool:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind.startswith("video/") or kind == "image/gif" or path.suffix.lower() == ".mkv"


def track_photo(path: Path, components: Components, person: int | None, tell: Tell) -> Tracked:
    """Fit the body to one photo; the motion has one frame."""
    subject = fit_photo(read_photo(path), components, person, tell)
    legs = {"legs"} if subject.quality.visible.get("legs", True) else set()
    motion = Motion(path.stem, 1.0, subject.params.batched(), moves=frozenset({"trunk", "head"} | legs))
    quality = subject.quality
    return Tracked(path, motion, subject.camera, quality.metrics, tuple(map(str, quality.warnings)), subject.vertex_offsets)


def fit_photo(photo: Photo, components: Components, person: int | None, tell: Tell, check: Check = _unchecked) -> Subject:
    """Find a person in a photo, cut them out and fit the body.

    Args:
        photo: the photo.
        components: see ``track_file``.
        person: number of the person, counted from 1 left to right, if the photo shows several.
        tell: receives progress reports.
        check: ``check(slot, contract, *values)`` is called with every result.
    """
    tell("finding the person", 0.0)
    keypoints = components.get("keypoints").detect(photo.to_uint8(), person)
    check("keypoints", require_keypoints, keypoints, photo.width, photo.height)
    tell("cutting the person out", 0.1)
    matte = components.get("matting").matte(photo, keypoints)
    check("matting", require_matte, matte, photo)
    tell("fitting the body", 0.25)
    subject = components.get("tracker").fit(photo, matte, keypoints)
    check("tracker", require_subject, subject, photo, components.get("body"))
    return subject


def track_video(path: Path, components: Components, tell: Tell, work: Path | None = None) -> Tracked:
    """Track one person through a video of any length.

    Args:
        path: the video.
        components: see ``track_file``.
        tell: receives progress reports.
        work: folder for the landmarks of the frames, from which an interrupted run continues. Removed at the end. None = a
            temporary one.

    Raises:
        InputError: the video cannot be read, or shows no person.
        StoreError: the folder cannot be written.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="avatarkit-") as folder:
            return track_video(path, components, tell, Path(folder) / "landmarks")
    info = probe(path)
    fps = min(info.fps, _MAX_FPS)
    expected = info.frames or (round(info.duration * fps) if info.duration else None)
    check_length(min(expected or 0, round((info.duration or 0) * fps) or 2**63), path)
    files = KeypointFiles(work, _key(path, components, fps))
    if len(files):
        tell(f"continuing after frame {len(files)}", 0.0)

    def images() -> Iterator[np.ndarray]:
        for number, (_, image) in enumerate(read_frames(path, fps, MAX_SIDE)):
            if number >= len(files):
                tell(f"looking at frame {number + 1}", min(0.4, 0.4 * number / expected) if expected else 0.0)
            yield image

    files.fill(images(), components.get("keypoints").detect_video)
    first = next((k for k in files if k is not None), None)
    if first is None or _fleeting(files):
        files.remove()
        raise InputError(f"No person was found in {path.name}: the video must show one person from the front.")
    tell("fitting the body", 0.4)
    camera = front_camera(first.width, first.height)
    motion = components.get("tracker").track(files, None, fps, cameras=[camera] * len(files))
    seen = sum(k is not None for k in files)
    warnings: tuple[str, ...] = ()
    if _crowded(files):
        warnings = (f"{path.name} shows several people; the largest is tracked. To track another one, crop the video.",)
    legs = {"legs"} if _shows_legs(files, components.get("body")) else set()
    motion = replace(motion, name=path.stem, moves=frozenset({"trunk", "head"} | legs))
    files.remove()
    return Tracked(path, motion, camera, {"seen_percent": 100.0 * seen / len(motion)}, warnings)


def _fleeting(frames: Sequence[Keypoints | None]) -> bool:
    """Return whether a body was detected in a few frames only, mostly without a face.

    Detectors find such bodies in hands and trees.
    """
    faces = [bool(k.sets("face")) for k in frames if k is not None]
    return len(faces) < _FEW * len(frames) and 2 * sum(faces) < len(faces)


def _crowded(frames: Sequence[Keypoints | None]) -> bool:
    """Return whether several people were detected too often to be an error."""
    counts = [k.person_count for k in frames if k is not None]
    return sum(count > 1 for count in counts) > _OFTEN * len(counts)


def _shows_legs(frames: Sequence[Keypoints | None], body: BodyModel) -> bool:
    """Return whether the frames show knees often enough that the motion of legs is seen and not guessed."""
    knees = {j for g in body.pose_groups if g.name in ("left_knee", "right_knee") for j in g.joints}
    table = body.landmarks("pose33")
    if not isinstance(table, JointLandmarks):
        return True
    points = [int(i) for i, j in zip(table.index, table.joint, strict=True) if int(j) in knees]
    seen = [_inside(k, points) for k in frames if k is not None and k.has("pose33")]
    return not seen or sum(seen) > _OFTEN * len(seen)


def _inside(keypoints: Keypoints, points: list[int]) -> bool:
    """Return whether one of some points of ``pose33`` is visible in the picture."""
    pixels, scores = keypoints.points["pose33"][points], keypoints.scores["pose33"][points]
    size = (keypoints.width, keypoints.height)
    return bool(((scores > 0.5) & (pixels > 0).all(1) & (pixels < size).all(1)).any())


def _key(path: Path, components: Components, fps: float) -> str:
    """Return everything that the landmarks of a video depend on."""
    choice, made = components.choice("keypoints"), components.descriptor("keypoints")
    state = path.stat()
    source = (path.name, state.st_size, state.st_mtime_ns)
    return content_key([source, choice.use, made.revision, dict(choice.options), fps, MAX_SIDE])


def relative(motion: Motion) -> Motion:
    """Convert world poses to displacements from the first visible position, see ``Motion``."""
    first = 0 if motion.valid is None else int(motion.valid.to(torch.uint8).argmax())
    translation = motion.params.translation
    return replace(motion, params=replace(motion.params, translation=translation - translation[first]))


def write_overlay(output: Path, tracked: Tracked, components: Components, tell: Tell) -> None:
    """Draw the tracked body over the pictures: a video, or a PNG file for a photo.

    Raises:
        InputError: the file's suffix does not fit.
        StoreError: the file cannot be written.
    """
    renderer, body = components.get("renderer"), components.get("body")
    count = len(tracked.motion)

    def draw(image: torch.Tensor, index: int) -> torch.Tensor:
        mesh = Mesh(body.vertices(tracked.motion.params[index].batched(), tracked.offsets)[0], body.faces)
        return overlay(image, renderer, mesh, tracked.camera)

    if not _is_video(tracked.source):
        if output.suffix.lower() != ".png":
            raise InputError(f"The overlay of a photo is a PNG file: use --overlay {output.stem}.png.")
        save_png(output, draw(read_photo(tracked.source).image, 0))
        return
    with VideoWriter(output, tracked.camera.width, tracked.camera.height, tracked.motion.fps) as video:
        for index, (_, frame) in enumerate(read_frames(tracked.source, tracked.motion.fps, MAX_SIDE)):
            drawn = draw(torch.from_numpy(frame).float() / 255, min(index, count - 1))
            video.write((drawn.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
            tell(f"frame {index + 1} of {count}", min(1.0, (index + 1) / count))
