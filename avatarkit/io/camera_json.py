"""Cameras as JSON files: ``{"K": 3x3, "T_camera_world": 4x4, "width": pixels, "height": pixels}``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta, Struct

from avatarkit.errors import InputError, StoreError
from avatarkit.storage.manifest import convert
from avatarkit.storage.stage_cache import read_json, write_json
from avatarkit.types.camera import Camera
from avatarkit.utils.files import require_file

__all__ = ["read_camera", "write_camera"]

_MOST_BYTES = 1 << 20
_NOT_RIGID = 1e-3  # from a rotation; files round their numbers


Row3 = Annotated[list[float], Meta(min_length=3, max_length=3, description="3 numbers")]
Row4 = Annotated[list[float], Meta(min_length=4, max_length=4, description="4 numbers")]
Pixels = Annotated[int, Meta(ge=16, le=8192, description="a whole number of pixels, 16 to 8192,")]


class _CameraFile(Struct):
    K: Annotated[list[Row3], Meta(min_length=3, max_length=3, description="3 rows of 3 numbers")]
    T_camera_world: Annotated[list[Row4], Meta(min_length=4, max_length=4, description="4 rows of 4 numbers")]
    width: Pixels
    height: Pixels


def read_camera(path: Path) -> Camera:
    """Read a camera; axes and units as ``Camera`` says.

    Raises:
        InputError: the file is missing or is no camera; names the field that is wrong.
    """
    require_file(path, "camera file", _MOST_BYTES)
    try:
        data = convert(read_json(path), _CameraFile)
    except StoreError as error:
        raise InputError(f"{path} is no camera file: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no camera file: it {error}.") from error
    K, T = (torch.tensor(rows, dtype=torch.float64) for rows in (data.K, data.T_camera_world))

    def wrong(field: str, what: str) -> InputError:
        return InputError(f"{path} is no camera file: {field} {what}.")

    if not (K[2].tolist() == [0, 0, 1] and K[1, 0] == 0):
        raise wrong("K", "must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    focal = K[[0, 1], [0, 1]]
    if not ((focal >= 1) & (focal <= 1e6)).all():
        raise wrong("K", "must have focal lengths of 1 to 1000000 pixels")
    if abs(float(K[0, 1])) > 1e-3 * float(focal.min()):
        raise wrong("K", "must have no skew: its second number must be 0")
    if not (K[:2, 2].abs() <= 1e5).all():
        raise wrong("K", "must have its principal point within 100000 pixels")
    R, place = T[:3, :3], T[:3, 3]
    if T[3].tolist() != [0, 0, 0, 1] or not torch.allclose(R @ R.T, torch.eye(3).double(), atol=_NOT_RIGID) or torch.det(R) < 0:
        raise wrong("T_camera_world", "must be a rotation and a translation, [[r, r, r, x], ..., [0, 0, 0, 1]]")
    if not (place.abs() <= 1e4).all():
        raise wrong("T_camera_world", "must not move by more than 10000 meters")
    return Camera(K.float(), T.float(), data.width, data.height)


def write_camera(path: Path, camera: Camera) -> None:
    """Write a camera for ``read_camera``."""
    data = {"K": camera.K.tolist(), "T_camera_world": camera.T_camera_world.tolist()}
    write_json(path, data | {"width": camera.width, "height": camera.height})
