"""Crops of faces, and the way back into the photo.

Pixel coordinates here have their centers at whole numbers, as OpenCV's warps want them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from avatarkit.errors import InputError
from avatarkit.labelling.wholebody import FACE, FACE68
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints

__all__ = ["FaceCrop", "border_mask", "face_points", "network_input", "paste", "picture", "square_window", "warp"]

CROP, INPUT = 512, 256  # pixels of a crop (and of a generated frame), and of what the networks look at
# The crop that the networks were trained with belongs to 106 points; the box of these 68 is a little smaller.
SCALE, SHIFT = 2.35, -0.125
RIM = 16  # pixels along the border of a frame that fade into the photo


@dataclass(frozen=True)
class FaceCrop:
    """A square around an upright face.

    Attributes:
        to_crop: (3, 3) from the photo.
        to_photo: (3, 3) back.
        angle: radians by which the face is turned clockwise in the photo, whether or not the crop turns it upright.
    """

    to_crop: np.ndarray
    to_photo: np.ndarray
    angle: float

    @staticmethod
    def around(
        points: np.ndarray,
        axis: np.ndarray,
        size: int = CROP,
        scale: float = SCALE,
        shift: float = SHIFT,
        upright: bool = True,
    ) -> FaceCrop:
        """Return the square that holds the points' box, taken along the face.

        Args:
            points: (n, 2) landmarks.
            axis: (2, 2) middle of the eyes and of the mouth.
            size: pixels of the crop.
            scale: of the box.
            shift: along the face, as part of the square; negative is up.
            upright: whether the crop turns the head upright.

        Raises:
            InputError: the points do not make a face.
        """
        down = axis[1] - axis[0]
        length = float(np.linalg.norm(down))
        if not np.isfinite(points).all() or length < 1e-3:
            raise InputError("The landmarks of the face lie on top of each other.")
        down = down / length
        turn = np.array([[down[1], -down[0]], down])  # rows: right and down along the face
        along = points @ turn.T
        low, high = along.min(0), along.max(0)
        side = float((high - low).max()) * scale
        center = (low + high) / 2 @ turn + down * (shift * side)
        linear = (turn if upright else np.eye(2)) * (size / side)
        to_crop = np.eye(3)
        to_crop[:2, :2], to_crop[:2, 2] = linear, size / 2 - linear @ center
        return FaceCrop(to_crop, np.linalg.inv(to_crop), math.atan2(-down[0], down[1]))

    def camera(self, camera: Camera, size: int = CROP) -> Camera:
        """Return the photo's camera, for the crop at ``size`` pixels.

        The turn becomes a roll of the camera.
        """
        zoom = size / CROP
        matrix = np.diag([zoom, zoom, 1.0]) @ _corners(self.to_crop)
        factor = math.hypot(matrix[0, 0], matrix[1, 0])
        roll = np.eye(4)
        roll[:2, :2] = matrix[:2, :2] / factor
        K = camera.K.double().numpy().copy()
        center = matrix[:2, :2] @ K[:2, 2] + matrix[:2, 2]
        K[:2] *= factor
        K[:2, 2] = center
        pose = torch.from_numpy(roll).to(camera.T_camera_world) @ camera.T_camera_world
        return Camera(torch.from_numpy(K).to(camera.K), pose, size, size)


def face_points(keypoints: Keypoints, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (68, 2) landmarks of the face in a photo of that size, and (2, 2) the middle of its eyes and mouth.

    Raises:
        InputError: no face was found.
    """
    if keypoints.has("face478"):
        points = keypoints.points["face478"][list(FACE68)]
    elif keypoints.has("coco133"):
        points = keypoints.points["coco133"][FACE]
    else:
        raise InputError("LivePortrait needs a face, and no landmarks of one were found in the photo.")
    points = points[:, :2].astype(np.float64) * [width / keypoints.width, height / keypoints.height] - 0.5
    eyes = points[[36, 39, 42, 45]].mean(0)
    return points, np.stack([eyes, points[[48, 54]].mean(0)])


def square_window(crop: FaceCrop, camera: Camera, size: int) -> tuple[np.ndarray, Camera]:
    """Return an upright square of the photo that holds a whole crop.

    Returns:
        (3, 3) matrix from the photo to the window at ``size`` pixels, and the window's camera.
    """
    corners = np.array([[0, 0, 1], [CROP, 0, 1], [CROP, CROP, 1], [0, CROP, 1]]) - [0.5, 0.5, 0]
    seen = (corners @ crop.to_photo.T)[:, :2] + 0.5
    low, high = seen.min(0), seen.max(0)
    zoom = size / float((high - low).max())
    half = np.array([[zoom, 0, -zoom * low[0]], [0, zoom, -zoom * low[1]], [0, 0, 1]])
    K = torch.from_numpy(half).to(camera.K) @ camera.K
    return _centers(half), replace(camera, K=K, width=size, height=size)


def warp(image: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Transform a picture by a (3, 3) matrix, bilinearly; black outside the source."""
    back = np.linalg.inv(matrix)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    at_x, at_y = (back[k, 0] * x + back[k, 1] * y + back[k, 2] for k in range(2))
    left, top = np.floor(at_x), np.floor(at_y)
    share_x, share_y = ((at - low).astype(np.float32)[..., None] for at, low in ((at_x, left), (at_y, top)))
    layers = image.reshape(*image.shape[:2], -1)
    framed = np.pad(layers, ((1, 1), (1, 1), (0, 0))).astype(np.float32)  # a black rim, where all that lies outside is found
    columns = [(left + k).clip(-1, image.shape[1]).astype(int) + 1 for k in (0, 1)]
    rows = [(top + k).clip(-1, image.shape[0]).astype(int) + 1 for k in (0, 1)]
    upper, lower = (framed[r, columns[0]] * (1 - share_x) + framed[r, columns[1]] * share_x for r in rows)
    moved = upper * (1 - share_y) + lower * share_y
    if image.dtype == np.uint8:
        moved = np.rint(moved).clip(0, 255)
    return np.asarray(moved.astype(image.dtype).reshape(height, width, *image.shape[2:]))


def network_input(crop: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return (H, W, 3) uint8 to (1, 3, 256, 256) in 0 to 1."""
    small = crop if crop.shape[:2] == (INPUT, INPUT) else cv2.resize(crop, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(small)).to(device).permute(2, 0, 1)[None].float() / 255


def picture(output: torch.Tensor) -> np.ndarray:
    """Convert a generated picture (1, 3, H, W), 0 to 1, to (H, W, 3) uint8."""
    return np.asarray((output[0].float().clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def border_mask() -> np.ndarray:
    """Return (512, 512) float32 that falls from 1 to 0 along the border of a frame."""
    beyond = np.maximum(np.maximum(RIM - np.arange(CROP), np.arange(CROP) - (CROP - RIM)), 0)
    distance = np.hypot(beyond[:, None], beyond[None, :])
    return (np.floor(255 * np.maximum(0, 1 - distance / RIM)) / 255).astype(np.float32)


def paste(frame: np.ndarray, photo: np.ndarray, mask: np.ndarray, to_photo: np.ndarray) -> np.ndarray:
    """Put a generated frame into a photo.

    Args:
        frame: (512, 512, 3) uint8.
        photo: (H, W, 3) uint8.
        mask: (512, 512) 0 to 1.
        to_photo: (3, 3).
    """
    height, width = photo.shape[:2]
    share = warp(mask, to_photo, width, height)[..., None]
    moved = warp(frame, to_photo, width, height)
    return np.asarray(np.clip(share * moved + (1 - share) * photo, 0, 255).astype(np.uint8))


def _corners(matrix: np.ndarray) -> np.ndarray:
    """Return the same map for coordinates whose pixel centers lie at +0.5."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(half @ matrix @ np.linalg.inv(half))


def _centers(matrix: np.ndarray) -> np.ndarray:
    """Return the other way round."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(np.linalg.inv(half) @ matrix @ half)
