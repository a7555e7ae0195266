"""Cameras as JSON files: ``{"K": 3x3, "T_camera_world": 4x4, "width": pixels, "height": pixels}``."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.storage.stage_cache import read_json, write_json
from avatarkit.types.camera import Camera

__all__ = ["read_camera", "write_camera"]


def read_camera(path: Path) -> Camera:
    """Reads a camera; axes and units as ``Camera`` says.

    Raises:
        InputError: the file is missing or is no camera.
    """
    try:
        data = read_json(path)
        K = torch.tensor(data["K"], dtype=torch.float32)
        T = torch.tensor(data["T_camera_world"], dtype=torch.float32)
        width, height = int(data["width"]), int(data["height"])
    except (StoreError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no camera file: it needs K, T_camera_world, width and height ({error})."
        ) from error
    sound = K.shape == (3, 3) and T.shape == (4, 4) and math.isfinite(float(K.sum() + T.sum()))
    if not sound or not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise InputError(f"{path} is no camera file: K is 3x3, T_camera_world 4x4, width and height 16 to 8192 pixels.")
    return Camera(K, T, width, height)


def write_camera(path: Path, camera: Camera) -> None:
    """The inverse of ``read_camera``."""
    data = {"K": camera.K.tolist(), "T_camera_world": camera.T_camera_world.tolist()}
    write_json(path, data | {"width": camera.width, "height": camera.height})
