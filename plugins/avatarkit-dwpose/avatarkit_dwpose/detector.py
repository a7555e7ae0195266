"""DWPose as a ``KeypointDetector``."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatarkit.errors import InputError, MissingWeights
from avatarkit.interfaces import Context, KeypointDetector
from avatarkit.types.keypoints import Keypoints
from avatarkit.utils.paths import expand, find_weights
from avatarkit_dwpose.config import DwposeConfig
from avatarkit_dwpose.networks import PeopleNetwork, PointsNetwork
from avatarkit_dwpose.sets import HANDS, as_pose33

__all__ = ["DwposeKeypoints"]

log = logging.getLogger("avatarkit.dwpose")

_COMPARABLE = 0.5  # heights of people that count, over the highest one's
_SAME = 0.2  # intersection over union of the same person's boxes
_BODY = slice(11, 33)  # of the 33 points: those that DWPose finds better than the companion
_SURE = 17  # the body points alone determine where a person is


class DwposeKeypoints:
    """Finds body, feet, face and hands with DWPose (Yang et al., 2023), as the paper does.

    Sets: ``coco133`` as the network gives it; ``pose33``, ``hand21_left`` and ``hand21_right`` in the order of the default
    detector, so that trackers need not know the difference. The companion lends what DWPose has not: the dense face mesh with
    irises (``face478``) and rough depth (``points_3d``); its body points stay where DWPose is not sure.
    """

    def __init__(self, config: DwposeConfig, context: Context) -> None:
        self._config = config
        device = str(context.device)
        self._people = PeopleNetwork(_weights(config.people, "dwpose-yolox-l"), device)
        self._points = PointsNetwork(_weights(config.points, "dwpose-ucoco-384"), device)
        self._companion: KeypointDetector | None = None
        if config.companion:
            self._companion = context.get("keypoints", config.companion)

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        """See ``KeypointDetector.detect``.

        With a companion, it chooses the person and refuses photos.
        """
        if self._companion is not None:
            other = self._companion.detect(image, person)
            box = self._nearest(image, np.array(other.box))
            return self._merged(image, box, other)
        boxes, _ = self._people(image)
        boxes = _comparable(boxes)
        if not len(boxes):
            raise InputError("No person was found in the photo. Use one that shows a person from the front, in good light.")
        count = len(boxes)
        if person is None and count > 1:
            choose = f"choose with --person N (1 to {count}, counted left to right)"
            raise InputError(f"{count} people are in the photo; {choose}.", count)
        if person is not None and not 1 <= person <= count:
            raise InputError(f"There is no person {person} in the photo: {count} found; --person counts from 1, left to right.")
        return replace(self._alone(image, boxes[(person or 1) - 1]), person_count=count)

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterator[Keypoints | None]:
        """Yield keypoints per frame, see ``KeypointDetector.detect_video``.

        The person detector runs if no person is being followed; otherwise a frame is searched around the previous frame's points.
        """
        if self._companion is None:
            yield from self._follow((image, None) for image in images)
            return
        read: deque[np.ndarray] = deque()

        def feed() -> Iterator[np.ndarray]:
            for image in images:
                read.append(image)
                yield image

        yield from self._follow((read.popleft(), other) for other in self._companion.detect_video(feed()))

    def _follow(self, frames: Iterable[tuple[np.ndarray, Keypoints | None]]) -> Iterator[Keypoints | None]:
        box: np.ndarray | None = None
        for image, other in frames:
            if other is not None and (box is None or _overlap(box, np.array(other.box)) < _SAME):
                box = self._nearest(image, np.array(other.box))
            elif box is None:
                boxes, _ = self._people(image)
                box = max(boxes, key=_area) if len(boxes) else None
            if box is None:
                yield None
                continue
            found = self._alone(image, box) if other is None else self._merged(image, box, other)
            box = self._box(found.points["coco133"], found.scores["coco133"])
            yield found if box is not None or other is not None else None

    def _nearest(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return the detected box that overlaps the companion's most.

        The companion's where none does.
        """
        boxes, _ = self._people(image)
        best = max(boxes, key=lambda b: _overlap(b, box), default=box)
        return best if _overlap(best, box) > _SAME else box

    def _alone(self, image: np.ndarray, box: np.ndarray) -> Keypoints:
        height, width = image.shape[:2]
        points, scores = self._points(image, box)
        body, sure = as_pose33(points, scores)
        named = {"coco133": points.astype(np.float32), "pose33": body}
        scored = {"coco133": scores, "pose33": sure}
        for name, part in HANDS.items():
            if float(np.median(scores[part])) > self._config.score:
                named[name], scored[name] = points[part].astype(np.float32), scores[part].clip(0, 1)
        around = self._box(points, scores)
        x0, y0, x1, y1 = (box if around is None else around).clip(0, (width, height, width, height)).tolist()
        return Keypoints(width, height, named, scored, {}, (x0, y0, x1, y1))

    def _merged(self, image: np.ndarray, box: np.ndarray, other: Keypoints) -> Keypoints:
        """Return DWPose's body and hands, completed by the companion.

        The companion provides the face mesh, depth and the points of low confidence.
        """
        own = self._alone(image, box)
        points, scores = {**other.points, **own.points}, {**other.scores, **own.scores}
        if other.has("pose33"):
            sure = own.scores["pose33"] > self._config.score
            sure[: _BODY.start] = False
            points["pose33"] = np.where(sure[:, None], own.points["pose33"], other.points["pose33"])
            # where the two disagree about visibility, use the lower confidence
            doubted = np.minimum(other.scores["pose33"], 0.5 * (own.scores["pose33"] + other.scores["pose33"]))
            doubted[: _BODY.start] = other.scores["pose33"][: _BODY.start]
            scores["pose33"] = np.where(sure, own.scores["pose33"], doubted).astype(np.float32)
        return replace(other, points=points, scores=scores)

    def _box(self, points: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
        """Return the box (4,) around the confident points; None if there are too few."""
        seen = scores > self._config.score
        if seen[:_SURE].sum() < 4:
            return None
        return np.concatenate([points[seen].min(0), points[seen].max(0)])


def _weights(path: str, name: str) -> Path:
    found = expand(path) if path else find_weights(name)
    if found is None:
        raise MissingWeights(f"{name} is not here: avatarkit weights add {name} FILE")
    return found


def _comparable(boxes: np.ndarray) -> np.ndarray:
    """Return boxes of people who are not far behind the largest, left to right."""
    if not len(boxes):
        return boxes
    heights = boxes[:, 3] - boxes[:, 1]
    near = boxes[heights >= _COMPARABLE * heights.max()]
    return near[np.argsort(near[:, 0] + near[:, 2])]


def _area(box: np.ndarray) -> float:
    return float(np.prod((box[2:] - box[:2]).clip(min=0)))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod((high - low).clip(min=0)))
    return common / max(_area(a) + _area(b) - common, 1e-9)
