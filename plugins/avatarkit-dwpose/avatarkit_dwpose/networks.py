"""DWPose's two networks in ONNX Runtime, with what goes into them and how their output is read.

The numbers are those of the released networks: YOLOX-L finds people, a distilled RTMPose-L finds 133 points of each, told as one
distribution over columns and one over rows (SimCC).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avatarkit.errors import InputError, MissingWeights

__all__ = ["PeopleNetwork", "PointsNetwork", "crop", "decode_people", "decode_points", "letterbox"]

COUNT = 133
_GRAY = 114
_STRIDES = (8, 16, 32)
_CANDIDATE, _PERSON, _OVERLAP = 0.1, 0.3, 0.45  # scores; intersection over union
_ROOM = 1.25  # crop over box
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_SPLIT = 2.0  # bins per pixel


class _Network:
    def __init__(self, path: Path, device: str, what: str) -> None:
        import onnxruntime

        if not path.is_file():
            raise MissingWeights(f"There is no file {path} for {what}.")
        wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
        providers = [p for p in (*wanted, "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the library's errors share no base of their own
            raise InputError(f"{path.name} is no ONNX file that can be used as {what}; download it again.") from error
        self._name = self._session.get_inputs()[0].name
        shape = self._session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != 3:
            raise InputError(f"{path.name} is another network than {what}: it expects {shape}, not a color picture.")
        self.size = tuple(v if isinstance(v, int) else None for v in shape[2:])
        self.path = path

    def run(self, pixels: np.ndarray) -> list[Any]:
        return self._session.run(None, {self._name: np.ascontiguousarray(pixels, np.float32)})


class PeopleNetwork(_Network):
    """The person detector."""

    def __init__(self, path: Path, device: str) -> None:
        super().__init__(path, device, "the person detector")
        if self.size[0] != self.size[1]:
            raise InputError(f"{path.name} is another network than the person detector: its picture is not square.")

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, 4) boxes x0, y0, x1, y1 in pixels and (n,) scores, best first, of (H, W, 3) uint8."""
        side = self.size[0] or 640
        pixels, ratio = letterbox(image, side)
        raw = self.run(pixels[None])[0]
        if raw.ndim != 3 or raw.shape[2] < 6 or raw.shape[1] != sum((side // s) ** 2 for s in _STRIDES):
            raise InputError(f"{self.path.name} is another network than the person detector: it gives {raw.shape}.")
        return decode_people(raw[0], side, ratio)


class PointsNetwork(_Network):
    """The keypoint network."""

    def __init__(self, path: Path, device: str) -> None:
        super().__init__(path, device, "the keypoint network")
        if len(self._session.get_outputs()) != 2:
            raise InputError(f"{path.name} is another network than the keypoint network of 133 points.")

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (133, 2) float64 pixels and (133,) float32 scores of the person in a box (4,) of (H, W, 3) uint8."""
        height, width = self.size[0] or 384, self.size[1] or 288
        pixels, center, extent = crop(image, box, width, height)
        out = self.run(pixels[None])
        if out[0].shape[1:] != (COUNT, width * _SPLIT) or out[1].shape[1:] != (COUNT, height * _SPLIT):
            raise InputError(f"{self.path.name} is another network than the keypoint network of 133 points.")
        return decode_points(out[0][0], out[1][0], (width, height), center, extent)


def letterbox(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Return (3, side, side) float32 0 to 255, the picture (H, W, 3) uint8 scaled into the top left corner, and the scale."""
    ratio = min(side / image.shape[0], side / image.shape[1])
    size = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
    canvas = np.full((side, side, 3), _GRAY, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return canvas.transpose(2, 0, 1).astype(np.float32), ratio


def decode_people(raw: np.ndarray, side: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and scores from the detector's output.

    Args:
        raw: (cells, 5 + classes): offset, log size, objectness, scores of classes; the first class is people.
        side: of the network's picture.
        ratio: from ``letterbox``.
    """
    cells, steps = [], []
    for stride in _STRIDES:
        n = side // stride
        y, x = np.mgrid[:n, :n].reshape(2, -1)
        cells.append(np.stack([x, y], 1))
        steps.append(np.full((n * n, 1), stride))
    cell, stride_ = np.concatenate(cells), np.concatenate(steps)
    center, size = (raw[:, :2] + cell) * stride_, np.exp(raw[:, 2:4]) * stride_
    boxes = np.concatenate([center - size / 2, center + size / 2], 1) / ratio
    scores = raw[:, 4] * raw[:, 5]
    likely = scores > _CANDIDATE
    boxes, scores = boxes[likely], scores[likely]
    kept = _without_doubles(boxes, scores)
    kept = kept[scores[kept] > _PERSON]
    return boxes[kept], scores[kept]


def _without_doubles(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the numbers of the boxes that do not overlap a better one too much.

    Best first; pixels are counted at both ends.
    """
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    order = scores.argsort()[::-1]
    kept = []
    while len(order):
        first, others = order[0], order[1:]
        kept.append(first)
        width = np.maximum(0, np.minimum(x1[first], x1[others]) - np.maximum(x0[first], x0[others]) + 1)
        height = np.maximum(0, np.minimum(y1[first], y1[others]) - np.maximum(y0[first], y0[others]) + 1)
        common = width * height
        order = others[common / (area[first] + area[others] - common) <= _OVERLAP]
    return np.array(kept, np.int64)


def crop(image: np.ndarray, box: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the keypoint network's input for a box.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) x0, y0, x1, y1.
        width: width of the network's picture.
        height: height of the network's picture.

    Returns:
        (3, height, width) float32 normalized, (2,) center and (2,) extent of the crop in pixels of ``image``.
    """
    corner, other = np.asarray(box, np.float64).reshape(2, 2)
    center, extent = (corner + other) / 2, (other - corner) * _ROOM
    aspect = width / height
    wide = extent[0] > extent[1] * aspect
    extent = np.array([extent[0], extent[0] / aspect]) if wide else np.array([extent[1] * aspect, extent[1]])
    half = extent[0] / 2
    # the center, a point above it, and that point's neighbor to the left
    steps = np.array([(0.0, 0.0), (0.0, -1.0), (-1.0, -1.0)])
    seen = (center + half * steps).astype(np.float32)
    drawn = (np.array([width / 2, height / 2]) + width / 2 * steps).astype(np.float32)
    part = cv2.warpAffine(image, cv2.getAffineTransform(seen, drawn), (width, height), flags=cv2.INTER_LINEAR)
    return ((part.astype(np.float32) - _MEAN) / _STD).transpose(2, 0, 1), center, extent


def decode_points(
    columns: np.ndarray, rows: np.ndarray, size: tuple[int, int], center: np.ndarray, extent: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and scores from the keypoint network's output.

    Args:
        columns: (n, 2 width).
        rows: (n, 2 height).
        size: (width, height) of its picture.
        center: from ``crop``.
        extent: from ``crop``.
    """
    scores = np.minimum(columns.max(-1), rows.max(-1))
    bins = np.stack([columns.argmax(-1), rows.argmax(-1)], -1)
    bins = np.where((scores > 0)[:, None], bins, -1)
    return bins / _SPLIT / np.array(size) * extent + center - extent / 2, scores.astype(np.float32)
