"""How Portrait4D wants faces: crops, landmarks and numbers, by the rules of its preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatarkit.errors import InputError
from avatarkit.types.camera import Camera

__all__ = ["SIZE", "Alignment", "align", "crop_camera", "five_points", "parameters"]

SIZE = 512  # pixels of a crop
FACE_SIZE = 180.0  # pixels of the mean face's unit in a crop

# The mean face: the eye on the picture's left, the other eye, tip of the nose, corners of the mouth (picture's left first).
_MEAN_FACE = np.array(
    [
        [-0.31148657, 0.09036078, 0.13377953],
        [0.30979887, 0.08972035, 0.13179526],
        [0.0032535, -0.24617933, 0.55244243],
        [-0.25216928, -0.5813392, 0.22405732],
        [0.2484662, -0.5812824, 0.22235769],
    ]
) + np.array([0.0, 0.1, 0.4])

# The virtual camera: how far from the neck, and its focal length over the picture's size (12 degrees).
_CAMERA_PLACE = (0.0, 0.01, 4.2)
_FOCAL = 4.757182
_SHAPE, _EXPRESSION, _JAW_AND_EYES = 300, 100, 9


@dataclass(frozen=True)
class Alignment:
    """Position of a crop in its picture, which is scaled and then cropped, never rotated."""

    scale: float
    left: int
    top: int
    offset: np.ndarray
    image: np.ndarray

    @property
    def to_crop(self) -> np.ndarray:
        """(3, 3) from pixels of the picture to pixels of the crop (corners at whole numbers)."""
        return np.array([[self.scale, 0, -self.left], [0, self.scale, -self.top], [0, 0, 1]], np.float64)

    def landmarks(self, points: np.ndarray, height: int) -> np.ndarray:
        """Return landmarks (n, 2) of a picture of that height -> crop, with the original's half-pixel asymmetry."""
        x = points[:, 0] * self.scale - self.offset[0]
        y = (height - 1 - points[:, 1]) * self.scale - self.offset[1]
        return np.stack([x, SIZE - y], 1)


def five_points(face: np.ndarray, pupils: np.ndarray | None = None) -> np.ndarray:
    """Return (5, 2) points for ``align`` from the 68 of the iBUG annotation.

    Args:
        face: (68, 2), person's right side first.
        pupils: (2, 2), the one on the picture's left first; None = the middle of each eye.
    """
    if pupils is None:
        pupils = np.stack([face[36:42].mean(0), face[42:48].mean(0)])
    return np.concatenate([pupils, face[[30, 48, 54]]])


def align(image: np.ndarray, points: np.ndarray) -> Alignment:
    """Cut the face out so that it has the place and size that the networks know.

    Args:
        image: (H, W, 3) uint8.
        points: (5, 2) pixels, see ``five_points``.

    Raises:
        InputError: the points do not make a face.
    """
    height, width = image.shape[:2]
    if not np.isfinite(points).all():
        raise InputError("Portrait4D needs a whole face, and some of its landmarks are not known.")
    flipped = np.stack([points[:, 0], height - 1 - points[:, 1]], 1)
    model = np.concatenate([_MEAN_FACE, np.ones((5, 1))], 1)
    solved = np.linalg.lstsq(model, flipped, rcond=None)[0]  # (4, 2)
    stretch = np.linalg.norm(solved[:3], axis=0).mean()
    if not 1.0 < stretch < 4 * max(height, width):
        raise InputError("The landmarks of the face lie on top of each other.")
    scale, (tx, ty) = FACE_SIZE / stretch, solved[3]
    w, h = int(width * scale), int(height * scale)
    if not 1 <= min(w, h) <= max(w, h) <= 16384:
        raise InputError("The face is too small in the photo for Portrait4D.")
    left = int(w / 2 - SIZE / 2 + (tx - width / 2) * scale)
    top = int(h / 2 - SIZE / 2 + (height / 2 - ty) * scale)
    offset = np.array([(tx - width / 2) * scale + w / 2 - SIZE / 2, (ty - height / 2) * scale + h / 2 - SIZE / 2])
    scaled = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.LANCZOS))
    rows, columns = (np.clip(np.arange(SIZE) + start, 0, end - 1) for start, end in ((top, h), (left, w)))
    return Alignment(scale, left, top, offset, np.ascontiguousarray(scaled[rows[:, None], columns[None]]))


def crop_camera(camera: Camera, alignment: Alignment) -> Camera:
    """Return the picture's camera, for the crop."""
    K = camera.K.clone()
    K[:2] *= alignment.scale
    K[0, 2] -= alignment.left
    K[1, 2] -= alignment.top
    return Camera(K, camera.T_camera_world, SIZE, SIZE)


def parameters(neck: np.ndarray) -> np.ndarray:
    """Return (437,) float32: virtual camera, neutral identity and expression, and the head's turn.

    Args:
        neck: (3,) rotation vector of the head; x right, y up, z toward the viewer. Zero faces the camera.
    """
    back = _rotation(-np.asarray(neck, np.float64))
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = back, back @ _CAMERA_PLACE
    intrinsics = [_FOCAL, 0, 0.5, 0, _FOCAL, 0.5, 0, 0, 1]
    rest = (np.zeros(_SHAPE + _EXPRESSION), neck, np.zeros(_JAW_AND_EYES))
    return np.concatenate([cam2world.ravel(), intrinsics, *rest]).astype(np.float32)


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Return (3, 3) of a rotation vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
