"""BiRefNet as a ``MattingModel``.

Foreground colors are estimated by hand for the reason in ``avatarkit_mediapipe.closed_form``: PyMatting compiles for 108 seconds
when it is first imported.
"""

from __future__ import annotations

import logging
from typing import Any

import cv2
import numpy as np
import torch
from scipy.special import expit

from avatarkit.errors import InputError, MissingWeights
from avatarkit.interfaces import Context
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte
from avatarkit.utils.paths import expand, find_weights
from avatarkit_birefnet.config import BiRefNetConfig

__all__ = ["BiRefNetMatte", "foreground_colors"]

log = logging.getLogger("avatarkit.birefnet")

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_SOLID = 0.4  # alpha above which pixels connect parts
_LEAST = 0.003  # smallest share of the picture that counts as a person
_SAME = 0.5  # intersection over union from which a file's own matte shows the same person


class BiRefNetMatte:
    """Cuts people out with BiRefNet (Zheng et al., 2024), run by ONNX Runtime.

    The network sees the part of the photo around the person, stretched to its square as in its training. A matte that the file
    itself carries is used as it is, where it shows the same person.
    """

    def __init__(self, config: BiRefNetConfig, context: Context) -> None:
        self._config = config
        self._network = _Network(config, str(context.device))

    def matte(self, photo: Photo, keypoints: Keypoints | None = None) -> Matte:
        """See ``MattingModel.matte``; without keypoints the largest thing is cut out."""
        image = photo.image.numpy()
        top, bottom, left, right = self._window(image, keypoints)
        alpha = np.zeros(image.shape[:2], np.float32)
        alpha[top:bottom, left:right] = self._network(image[top:bottom, left:right])
        alpha = _of_one(alpha, keypoints)
        if (alpha > 0.5).mean() < _LEAST:
            raise InputError("No person could be cut out of the photo. Use one in which the person stands out clearly.")
        if photo.alpha is not None:
            given = photo.alpha.numpy()
            if _overlap(given > 0.5, alpha > 0.5) > _SAME:
                alpha = given
            else:
                log.warning("The transparency of the photo does not show the person and is not used.")
        colors = foreground_colors(image, alpha)
        return Matte(torch.from_numpy(np.ascontiguousarray(alpha)), torch.from_numpy(np.ascontiguousarray(colors)))

    def _window(self, image: np.ndarray, keypoints: Keypoints | None) -> tuple[int, int, int, int]:
        """Return top, bottom, left and right of the network's window."""
        height, width = image.shape[:2]
        if keypoints is None or keypoints.box[2] <= keypoints.box[0]:
            return 0, height, 0, width
        x0, y0, x1, y1 = keypoints.box
        dx, dy = self._config.margin * (x1 - x0), self._config.margin * (y1 - y0)
        left, right = max(0, int(x0 - dx)), min(width, int(x1 + dx) + 1)
        return max(0, int(y0 - dy)), min(height, int(y1 + dy) + 1), left, right


class _Network:
    def __init__(self, config: BiRefNetConfig, device: str) -> None:
        import onnxruntime

        path = expand(config.network) if config.network else find_weights("birefnet")
        if path is None:
            raise MissingWeights("birefnet is not here: avatarkit weights add birefnet FILE.onnx")
        if not path.is_file():
            raise MissingWeights(f"There is no file {path} for BiRefNet.")
        wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
        providers = [p for p in (*wanted, "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._path = path
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the library's errors share no base of their own
            raise InputError(
                f"{path.name} is no ONNX file that can be used. BiRefNet's own checkpoints have to be exported to ONNX first."
            ) from error
        entry: Any = self._session.get_inputs()[0]
        shape = entry.shape
        if len(self._session.get_inputs()) != 1 or len(shape) != 4 or shape[1] != 3:
            raise InputError(f"{path.name} is another network than BiRefNet: it expects {shape}, not a color picture.")
        self._name = entry.name
        self._type = np.float16 if "float16" in entry.type else np.float32
        self._size = tuple(v if isinstance(v, int) else config.side for v in shape[2:])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (H, W) alpha of (H, W, 3) float32 sRGB."""
        height, width = self._size
        shrinks = image.shape[0] > height
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        pixels = ((small - _MEAN) / _STD).transpose(2, 0, 1)[None].astype(self._type)
        out = np.asarray(self._session.run(None, {self._name: np.ascontiguousarray(pixels)})[-1], np.float32)
        if out.size != height * width or not np.isfinite(out).all():
            raise InputError(f"{self._path.name} is another network than BiRefNet: it gives {out.shape}.")
        out = out.reshape(height, width)
        if out.min() < 0 or out.max() > 1:  # some exports end before the sigmoid
            out = expit(out)
        return cv2.resize(out, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)


def _of_one(alpha: np.ndarray, keypoints: Keypoints | None) -> np.ndarray:
    """Remove parts that are not connected to the person's landmarks, or to the largest part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > _SOLID).astype(np.uint8), connectivity=8)
    if count <= 2:
        return alpha
    keep: set[int] = set()
    if keypoints is not None:
        for name, points in keypoints.points.items():
            column, row = np.floor(points[keypoints.scores[name] > 0.5]).astype(int).T
            inside = (column >= 0) & (row >= 0) & (column < alpha.shape[1]) & (row < alpha.shape[0])
            keep |= set(np.unique(labels[row[inside], column[inside]]).tolist())
    keep.discard(0)
    if not keep:
        keep = {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    kept = np.isin(labels, list(keep)).astype(np.uint8)
    reach = 2 * int(0.01 * max(alpha.shape)) + 1  # soft borders and loose hair
    return alpha * cv2.dilate(kept, np.ones((reach, reach), np.uint8))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def foreground_colors(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return colors with the background taken out, by blur fusion (Forte, 2021), coarse then fine.

    Args:
        image: (H, W, 3) float32.
        alpha: (H, W).

    Returns:
        (H, W, 3) float32, 0 to 1.
    """
    a = alpha[..., None]
    foreground, background = image, image
    scale = max(image.shape[:2]) / 1024
    for radius in (round(90 * scale), round(6 * scale)):
        size = (2 * radius + 1, 2 * radius + 1)
        near = cv2.blur(alpha, size)[..., None]
        smooth = cv2.blur(foreground * a, size) / (near + 1e-5)
        behind = cv2.blur(background * (1 - a), size) / (1 - near + 1e-5)
        foreground = (smooth + a * (image - a * smooth - (1 - a) * behind)).clip(0, 1)
        background = behind.clip(0, 1)
    return foreground.astype(np.float32)
