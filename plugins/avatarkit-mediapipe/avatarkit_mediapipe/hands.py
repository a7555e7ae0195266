"""Hands of a person whose body landmarks are known.

A hand is believed where the hand model, run again on the region that its own landmarks ask for, stays where it
was, and where hand and body agree about the wrist. The side is that of the body's wrist, never the hand model's label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from avatarkit_mediapipe.networks.crops import Roi
from avatarkit_mediapipe.networks.detection import Detection, palm_detector
from avatarkit_mediapipe.networks.landmarks import hand_landmarks, hand_region

__all__ = ["Hand", "HandFinder"]

PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # points that define a hand's region
CROP = 288  # pixels: side of an enlarged wrist crop
TURNS = (0.0, -0.4, 0.4)  # radians: half hidden hands are often only believed from a region that is turned a little
SURE = 0.88  # score at which no other region is tried
MIN_VISIBILITY = 0.2  # of the body's wrist, for a second look; hidden hands often get 0.1
MAX_WRIST_DISTANCE = 0.4  # between the body's wrist and the hand's, in head heights
MISREAD = 0.2  # hand sizes off the body's wrist from which a hand that begins nearer to the elbow is a forearm, taken for one
MIN_SIZE, MAX_SIZE = 0.25, 2.0  # of a hand, in head heights
MIN_INSIDE = 0.25  # part of a hand's points that is in the picture
MAX_DRIFT = 0.12  # of landmarks when the model is run again, in hand sizes
SETTLED = 0.02  # drift at which it is not run a third time

# Numbers of the body landmarks of each arm: shoulder, elbow, wrist, little finger, index finger, thumb.
ARMS = {"left": (11, 13, 15, 17, 19, 21), "right": (12, 14, 16, 18, 20, 22)}


@dataclass(frozen=True)
class Hand:
    """Landmarks of one hand.

    Attributes:
        points: (21, 2) pixels.
        score: confidence, 0 to 1.
    """

    points: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """Pixels across."""
        return float(np.ptp(self.points, axis=0).max())


class HandFinder:
    """Finds the two hands of one person."""

    def __init__(self) -> None:
        self._palms = palm_detector()

    def find(
        self,
        image: np.ndarray,
        pose: np.ndarray,
        visibility: np.ndarray,
        head: float,
        before: Mapping[str, Hand],
        second_look: tuple[float, ...] = (),
    ) -> dict[str, Hand]:
        """Return hands by side, ``left`` and ``right`` of the person.

        Those not seen are absent.

        Args:
            image: (H, W, 3) uint8.
            pose: (33, 2) pixels.
            visibility: (33,).
            head: height of the head in pixels.
            before: hands in the frame before, by side.
            second_look: sizes in head heights of enlarged crops around the wrists, where to look for hands that are not
                found so; empty = not at all.
        """
        hands: dict[str, Hand] = {}
        for side, arm in ARMS.items():
            found = self._settle(image, hand_roi(before[side].points), pose, arm, head) if side in before else None
            if found is None and _may_be_seen(image, pose, visibility, arm, head):
                found = self._first_look(image, pose, arm, head)
                if found is None and second_look:
                    found = self._second_look(image, pose, arm, head, second_look)
            if found is not None:
                hands[side] = found
        return _without_doubles(hands, pose)

    def _first_look(self, image: np.ndarray, pose: np.ndarray, arm: tuple[int, ...], head: float) -> Hand | None:
        """Return a hand at the body model's wrist and fingers."""
        return self._settle(image, hand_region(image, _arm_roi(pose, arm)), pose, arm, head)

    def _second_look(
        self, image: np.ndarray, pose: np.ndarray, arm: tuple[int, ...], head: float, sizes: tuple[float, ...]
    ) -> Hand | None:
        """Return the best hand among the palms around a wrist."""
        best: Hand | None = None
        for region in self._palm_regions(image, pose, arm, head, sizes):
            for turn in TURNS if len(sizes) > 1 else TURNS[:1]:
                hand = self._settle(image, replace(region, rotation=region.rotation + turn), pose, arm, head)
                if hand is not None and (best is None or hand.score > best.score):
                    best = hand
                if best is not None and best.score > SURE:
                    return best
        return best

    def _settle(self, image: np.ndarray, roi: Roi, pose: np.ndarray, arm: tuple[int, ...], head: float) -> Hand | None:
        """Run the hand model until its landmarks ask for the region that they came from.

        None where it is no hand.
        """
        height, width = image.shape[:2]
        elbow, wrist = pose[list(arm[1:3])]
        points, drift, distance = None, math.inf, math.inf
        for _ in range(3):
            new = hand_landmarks(image, roi)
            if new is None:
                return None
            size = float(np.ptp(new, axis=0).max())
            inside = ((new >= 0) & (new < (width, height))).all(1).mean()
            distance = float(np.linalg.norm(new[0] - wrist)) / head
            # a hand held toward the camera is large, and its wrist may be further from the body's guess
            near = distance < MAX_WRIST_DISTANCE * max(1.0, size / head) * (1.5 if points is None else 1.0)
            misread = MISREAD * size < distance * head and np.linalg.norm(new[0] - elbow) < distance * head
            if not (MIN_SIZE * head < size < MAX_SIZE * head and inside > MIN_INSIDE and near) or misread:
                return None
            if points is not None:
                drift = float(np.abs(new - points).mean()) / size
            points, roi = new, hand_roi(new)
            if drift < SETTLED:
                break
        if points is None or drift > MAX_DRIFT:
            return None
        return Hand(points, float(np.clip(1 - drift / MAX_DRIFT * 0.4 - distance * 0.5, 0.2, 1.0)))

    def _palm_regions(
        self, image: np.ndarray, pose: np.ndarray, arm: tuple[int, ...], head: float, sizes: tuple[float, ...]
    ) -> Iterator[Roi]:
        """Yield the palm detector's regions in enlarged crops around a wrist."""
        center = pose[list(arm[2:])].mean(0)
        for factor in sizes:
            side = factor * head
            scale = CROP / side
            x, y = center - side / 2
            warp = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
            flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            crop = cv2.warpAffine(image, warp, (CROP, CROP), flags=flags, borderMode=cv2.BORDER_CONSTANT)
            for detection in self._palms(crop):
                yield _palm_roi(detection, x, y, side / CROP)


def _arm_roi(pose: np.ndarray, arm: tuple[int, ...]) -> Roi:
    """Return the square in which the model that looks closer expects the hand of an arm: around the middle finger's knuckle."""
    wrist, little, index = pose[list(arm[2:5])]
    knuckle = (2 * index + little) / 3
    along = knuckle - wrist
    turn = math.pi / 2 - math.atan2(-along[1], along[0])
    return Roi(float(knuckle[0]), float(knuckle[1]), 5.4 * max(float(np.hypot(*along)), 1.0), turn)


def hand_roi(points: np.ndarray) -> Roi:
    """Return the hand model's region for a hand with these landmarks, (21, 2) pixels."""
    knuckles = (points[6] + points[14]) / 4 + points[10] / 2
    return _turned_box(points[list(PALM)], points[0], knuckles, scale=2.0, shift=-0.1)


def _palm_roi(detection: Detection, x: float, y: float, scale: float) -> Roi:
    """Return the same for a detected palm in a crop at (x, y), whose pixels are ``scale`` of the picture's."""
    points, corners = (a.reshape(-1, 2) * scale + (x, y) for a in (detection.points, detection.box))
    direction = points[2] - points[0]
    turn = math.pi / 2 - math.atan2(-direction[1], direction[0])
    size = float(np.ptp(corners, axis=0).max())
    center = corners.mean(0) + 0.5 * size * np.array([math.sin(turn), -math.cos(turn)])
    return Roi(float(center[0]), float(center[1]), 2.6 * size, turn)


def _turned_box(points: np.ndarray, start: np.ndarray, end: np.ndarray, scale: float, shift: float) -> Roi:
    """Return square around points, turned so that start to end points up."""
    direction = end - start
    turn = math.pi / 2 - math.atan2(-direction[1], direction[0])
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])  # rows: right, down
    inside = points @ axes.T
    low, high = inside.min(0), inside.max(0)
    middle = (low + high) / 2 + (0, shift * (high[1] - low[1]))
    x, y = middle @ axes
    return Roi(float(x), float(y), float(scale * (high - low).max()), turn)


def _may_be_seen(image: np.ndarray, pose: np.ndarray, visibility: np.ndarray, arm: tuple[int, ...], head: float) -> bool:
    x, y = pose[arm[2]]
    height, width = image.shape[:2]
    margin = 0.3 * head
    near = -margin < x < width + margin and -margin < y < height + margin
    return bool(near and visibility[arm[2]] > MIN_VISIBILITY)


def _without_doubles(hands: dict[str, Hand], pose: np.ndarray) -> dict[str, Hand]:
    """Keep a hand that both sides found only for the nearer wrist."""
    if len(hands) < 2:
        return hands
    apart = float(np.linalg.norm(hands["left"].points - hands["right"].points, axis=1).mean())
    if apart > 0.35 * min(h.size for h in hands.values()):
        return hands
    nearest = min(hands, key=lambda side: float(np.linalg.norm(hands[side].points[0] - pose[ARMS[side][2]])))
    return {nearest: hands[nearest]}
