"""Where the person of a clip stands, and the cameras that look on."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatarkit.geometry.mesh_graph import limb
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera, orbit
from avatarkit.types.subject import Subject

__all__ = ["frame_cameras", "place", "shown_vertices"]

_MIN_DISTANCE = 2.2  # camera distance in extents of the person: nearer, hands that reach out would fill the frame


def place(subject: Subject, motion: Motion, count: int) -> BodyParams:
    """Put ``count`` evenly chosen frames of a relative motion where the subject stands, turned as the subject is.

    Returns:
        (count,) parameters; the subject's own lean stays out, since motions start from upright.
    """
    last = len(motion) - 1
    frames = torch.linspace(0, last, count).round().long() if count > 1 else torch.zeros(1, dtype=torch.int64)
    chosen = motion.params[frames]
    facing = _heading(subject.params.root)
    root = matrix_to_axis_angle(facing @ axis_angle_to_matrix(chosen.root))
    translation = subject.params.translation + chosen.translation @ facing.T
    return replace(
        chosen,
        model=subject.params.model,
        shape=subject.params.shape,
        root=root,
        translation=translation,
    )


def shown_vertices(subject: Subject, body: BodyModel, region: str) -> torch.Tensor:
    """(V,) bool, what a frame has to hold: the head, or the body without legs that the photo does not show."""
    if region == "head":
        return body.part("head") > 0.5
    shown = torch.ones(body.skinning_indices.shape[0], dtype=torch.bool)
    if not subject.quality.visible.get("legs", True):
        shown &= ~(limb(body, "left_foot") | limb(body, "right_foot"))
    return shown


def frame_cameras(
    camera: Camera, points: torch.Tensor, yaws: torch.Tensor, pitch: float, size: tuple[int, int], margin: float
) -> tuple[Camera, ...]:
    """Cameras that circle around a moving person, each as near as keeps all of it in frame.

    Args:
        camera: of the photo; gives the view that yaw and pitch start from.
        points: (T, n, 3) world, what has to be in frame.
        yaws: (T,) degrees.
        pitch: degrees.
        size: width and height in pixels; a wide clip gets a wider frame with as many pixels.
        margin: free share of the frame on each side.
    """
    center = 0.5 * (points.amin((0, 1)) + points.amax((0, 1)))
    extent = float((points.amax(1) - points.amin(1)).amax())
    distance = float((camera.position - center).norm())
    back = max(1.0, _MIN_DISTANCE * extent / max(distance, 1e-6))
    T = camera.T_camera_world.clone()
    T[:3, 3] = -T[:3, :3] @ (center + (camera.position - center) * back)
    camera = replace(camera, T_camera_world=T)
    views = [orbit(camera, center, float(yaw), pitch) for yaw in yaws]
    pixels = torch.stack([view.project(p) for view, p in zip(views, points, strict=True)])
    low, high = pixels.amin(1), pixels.amax(1)  # (T, 2)
    width, height = _frame_size((high - low).median(0).values.tolist(), size)
    frame = torch.tensor([width, height])
    scales = (frame * (1.0 - 2.0 * margin) / (high - low)).amin(1)
    cropped = []
    for view, scale, middle in zip(views, scales, 0.5 * (low + high), strict=True):
        K = view.K.clone()
        K[:2] *= scale
        K[:2, 2] += frame / 2 - middle * scale
        cropped.append(replace(view, K=K, width=width, height=height))
    return tuple(cropped)


def _frame_size(box: list[float], size: tuple[int, int]) -> tuple[int, int]:
    """Return a frame with as many pixels as ``size``, widened up to a square where the box (width, height) is wide."""
    narrow = size[0] / size[1]
    aspect = min(max(box[0] / box[1], narrow), max(1.0, narrow))
    height = (size[0] * size[1] / aspect) ** 0.5
    return 2 * round(height * aspect / 2), 2 * round(height / 2)


def _heading(root: torch.Tensor) -> torch.Tensor:
    """(3, 3) the turn about y of a root rotation (3,)."""
    forward = axis_angle_to_matrix(root.detach())[:, 2]
    yaw = torch.atan2(forward[0], forward[2])
    return axis_angle_to_matrix(torch.stack([torch.zeros_like(yaw), yaw, torch.zeros_like(yaw)]))
