"""Tilts the camera so that a person who stands is upright.

One photo does not tell how far its camera looked down. The fit keeps the camera level and lets the whole person lean, who would
then swing around when seen from other sides, and walk at a slant.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.interfaces import BodyModel
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera

__all__ = ["level"]

_STRAIGHT = math.cos(math.radians(35))  # how straight the legs and trunk of a standing person are


def level(body: BodyModel, params: BodyParams, camera: Camera) -> tuple[BodyParams, Camera]:
    """Return the same picture in a world that is turned about the camera's x axis, and of sitting people as it was.

    The line from ankles to shoulders then leans toward the camera or away from it as it does when the body model stands at ease.

    Args:
        body: the body model.
        params: one frame of a person whose legs were seen.
        camera: of the picture.
    """
    lines = _lines(body, params)
    if lines is None or float((lines[1:] @ lines[0]).min()) < _STRAIGHT:
        return params, camera
    right = camera.T_camera_world[0, :3]
    relaxed = _lines(body, replace(body.neutral(), shape=params.shape))
    assert relaxed is not None
    turn = axis_angle_to_matrix(right * (_lean(relaxed[0], right) - _lean(lines[0], right)))
    pose, eye = torch.eye(4), camera.position
    pose[:3, :3], pose[:3, 3] = turn.T, eye - turn.T @ eye
    return (
        replace(
            params,
            root=matrix_to_axis_angle(turn @ axis_angle_to_matrix(params.root)),
            translation=turn @ (params.translation - eye) + eye,
        ),
        replace(camera, T_camera_world=camera.T_camera_world @ pose),
    )


def _lines(body: BodyModel, params: BodyParams) -> torch.Tensor | None:
    """(6, 3) unit vectors from ankles to shoulders, of the trunk and of both legs' bones; None if the model lacks a joint."""
    first = {group.name: group.joints[0] for group in body.pose_groups}
    names = [f"{side}_{name}" for name in ("shoulder", "hip", "knee", "ankle") for side in ("left", "right")]
    if any(name not in first for name in names):
        return None
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root[None], params.translation[None], params.joints[None])[0]
    joints = (A[:, :3, :3] @ skeleton.positions[..., None])[..., 0] + A[:, :3, 3]
    places = joints[[first[name] for name in names]].reshape(4, 2, 3)
    _, hips, knees, ankles = places
    middle = places.mean(1)
    lines = torch.cat([(middle[0] - middle[3])[None], (middle[0] - middle[1])[None], hips - knees, knees - ankles])
    return torch.nn.functional.normalize(lines, dim=-1)


def _lean(line: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """() radians about an axis (3,) by which a line (3,) is turned out of the vertical."""
    up = torch.tensor([0.0, 1.0, 0.0])
    ahead = torch.linalg.cross(right, up)
    return torch.atan2(line @ ahead, line @ up)
