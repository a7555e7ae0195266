"""Finds people in a picture: heads and bodies, counted from left to right."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avatarkit_mediapipe.networks.crops import Roi
from avatarkit_mediapipe.networks.detection import Detection, Detector, body_detector, far_face_detector, near_face_detector

__all__ = ["Person", "PersonFinder"]

FACE_SCORE = 0.6  # a drawing reaches 0.5
BODY_SCORE_TILE = 0.8  # texture that is looked at closely reaches 0.7
COMPARABLE = 0.45  # smaller people than this part of the largest are passers-by
BODY_ROI = 1.25  # side of the square that the landmark model wants, in diameters of the detector's circle
# Head heights per face box of the full-range detector, which goes from brows to chin; per body circle radius.
HEAD_PER_FACE, HEAD_PER_RADIUS = 1.55, 0.22


@dataclass(frozen=True)
class Person:
    """One detected person, in pixels.

    Attributes:
        x, y: center of the head.
        head: its height, roughly.
        roi: of the whole body, for the landmark model.
        face: whether a face was detected.
        score: confidence.
    """

    x: float
    y: float
    head: float
    roi: Roi
    face: bool
    score: float


class PersonFinder:
    """Finds people with the face and body detectors.

    Parts of the picture are searched if no person is found in the whole.
    """

    def __init__(self) -> None:
        self._bodies = body_detector()
        self._near = near_face_detector()
        self._far = far_face_detector()

    def find(self, image: np.ndarray) -> list[Person]:
        """Return all people of a picture, (H, W, 3) uint8, left to right."""
        return sorted(self._look(image, 0, 0, (self._far, self._near)), key=lambda p: p.x)

    def find_small(self, image: np.ndarray) -> list[Person]:
        """Return the same on enlarged parts: people that are too small for ``find``.

        Slower.
        """
        found: list[Person] = []
        for x, y, side in _tiles(image.shape[1], image.shape[0]):
            tile = image[y : y + side, x : x + side]
            people = self._look(tile, x, y, (self._far,))  # the near model sees faces in fur
            found += [p for p in people if p.face or p.score >= BODY_SCORE_TILE]
        return sorted(_distinct(found), key=lambda p: p.x)

    def _look(self, image: np.ndarray, x: int, y: int, face_detectors: tuple[Detector, ...]) -> list[Person]:
        """Return the people in a part of the picture whose top left corner is (x, y)."""
        faces: list[tuple[float, float, float, float]] = []  # x, y, size, score
        for detector in face_detectors:
            for d in detector(image):
                size = float((d.box[2:] - d.box[:2]).mean())
                face = (x + d.center[0], y + d.center[1], size, d.score)
                if d.score >= FACE_SCORE and not any(math.dist(face[:2], f[:2]) < 0.6 * max(size, f[2]) for f in faces):
                    faces.append(face)
        people = []
        for d in self._bodies(image):
            person = _from_body(d, x, y)
            mine = min(faces, key=lambda f: math.dist(f[:2], (person.x, person.y)), default=None)
            if mine is not None and math.dist(mine[:2], (person.x, person.y)) < 1.3 * max(person.head, mine[2]):
                faces.remove(mine)
                head = mine[2] * HEAD_PER_FACE
                people.append(Person(mine[0], mine[1], head, person.roi, True, max(person.score, mine[3])))
            else:
                people.append(person)
        return people + [body_under(*f) for f in faces]


def comparable(people: list[Person]) -> list[Person]:
    """Leave passers-by out: those much smaller than the largest."""
    largest = max((p.head for p in people), default=0.0)
    return [p for p in people if p.head >= COMPARABLE * largest]


def _from_body(detection: Detection, x: int, y: int) -> Person:
    """Return a person from the body detector.

    A circle around the hips holds the body, a box at the shoulders the face.
    """
    hip, rim = ((x + point[0], y + point[1]) for point in detection.points[:2].tolist())
    radius = math.dist(hip, rim)
    turn = math.pi / 2 - math.atan2(hip[1] - rim[1], rim[0] - hip[0])
    return Person(
        x + detection.center[0],
        y + detection.center[1],
        HEAD_PER_RADIUS * radius,
        Roi(*hip, 2 * BODY_ROI * radius, turn),
        False,
        detection.score,
    )


def body_under(x: float, y: float, size: float, score: float) -> Person:
    """Guess the body under an upright face of this center and size."""
    return Person(x, y, size * HEAD_PER_FACE, Roi(x, y + 3.7 * size, 12 * size), True, score)


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Yield half-overlapping squares: x, y, side."""
    for parts in (2, 3):
        side = max(width, height) // parts
        for y in range(0, max(1, height - side // 2), side // 2):
            for x in range(0, max(1, width - side // 2), side // 2):
                yield x, y, side


def _distinct(people: list[Person]) -> list[Person]:
    """Keep the surest of those that are the same person."""
    kept: list[Person] = []
    for p in sorted(people, key=lambda p: (p.face, p.score), reverse=True):
        if all(math.dist((p.x, p.y), (k.x, k.y)) > 0.6 * max(p.head, k.head) for k in kept):
            kept.append(p)
    return kept
