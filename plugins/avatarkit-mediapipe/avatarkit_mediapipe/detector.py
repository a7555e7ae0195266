"""Landmarks of one person: 33 of the body, 478 of the face, 21 of each hand."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from avatarkit.errors import InputError
from avatarkit.interfaces import Context
from avatarkit.types.keypoints import Keypoints
from avatarkit_mediapipe.config import KeypointConfig
from avatarkit_mediapipe.hands import Hand, HandFinder
from avatarkit_mediapipe.networks.crops import Roi, brightened
from avatarkit_mediapipe.networks.landmarks import body_landmarks, face_landmarks
from avatarkit_mediapipe.people import BODY_ROI, HEAD_PER_FACE, Person, PersonFinder, body_under, comparable

__all__ = ["MediaPipeKeypoints"]

log = logging.getLogger("avatarkit.mediapipe")

# Body landmarks: nose, inner to outer eyes, ears, corners of the mouth, shoulders; left is the person's.
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR, MOUTH, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 2, 5, 7, 8, (9, 10), 11, 12
OTHER_SIDE = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(k + 1 if k % 2 else k - 1 for k in range(11, 33))]  # left for right
# Face landmarks: forehead, chin, both sides of the oval, outer corners of the eyes.
FOREHEAD, CHIN, RIGHT_CHEEK, LEFT_CHEEK, RIGHT_CORNER, LEFT_CORNER = 10, 152, 234, 454, 33, 263
HEAD_PER_OVAL = 1.3  # head height with hair over forehead to chin
MAX_YAW = 58.0  # degrees: beyond it the mesh's far side is a guess that misleads more than it helps
TURNED, UPSIDE_DOWN = 60.0, 120.0  # degrees of the head against upright
HAND_CROPS, HAND_CROPS_VIDEO = (0.9, 1.3, 1.8), (1.3,)  # in head heights
BLURRED = 0.12  # sharpness of a face of 300 pixels after a blur of 8; usual photos have 0.2 to 0.7
FACE_RUNS, FACE_RUNS_VIDEO = 4, 2  # of the face model: from a rough region, from the face in the frame before
FACE_INSIDE = 0.6  # part of the face that has to be in the picture
SAME_JOINT = 0.3  # head heights between a joint in two detections of one person
COUNT_EVERY = 12  # frames of a video between two counts of its people
BODY_RUNS_VIDEO = 4  # of the body model in a video's first frame: where the person was detected, then from its own landmarks
STEADY = 0.08  # change of the body's region, as part of its side or in radians, from which it is followed at once

NOBODY = (
    "No person was found in the photo. Use one that shows a person from the front, large enough (the head some 100 pixels "
    "high), in good light, with the face uncovered. Drawings are seldom recognized."
)


@dataclass(frozen=True)
class _Face:
    """Landmarks (478, 2) in pixels, their scores, and how far the head is turned sideways, in degrees."""

    points: np.ndarray
    scores: np.ndarray
    yaw: float


@dataclass(frozen=True)
class _Sighting:
    """One person in one picture.

    Attributes:
        pose: (33, 3) pixels, z on the same scale.
        visibility: (33,).
        world: (33, 3) meters.
        head: height of the head in pixels.
        face, hands: where seen.
        region: where to look in the next frame.
    """

    pose: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    head: float
    face: _Face | None
    hands: dict[str, Hand]
    region: Roi

    @property
    def tilt(self) -> float:
        """Degrees between the face's downward axis and the picture's, 0 to 180."""
        eyes = (self.pose[LEFT_EYE] + self.pose[RIGHT_EYE]) / 2
        mouth = self.pose[list(MOUTH)].mean(0)
        x, y = (mouth - eyes)[:2]
        return math.degrees(abs(math.atan2(x, y)))

    @property
    def from_behind(self) -> bool:
        """Whether the shoulders are in the order of a back."""
        x, y = (self.pose[LEFT_SHOULDER] - self.pose[RIGHT_SHOULDER])[:2]
        return bool(x < 0 and abs(x) > abs(y))


class MediaPipeKeypoints:
    """KeypointDetector on MediaPipe's networks.

    Sets: ``pose33`` (scores are the model's visibility; ``points_3d`` its metric estimate), ``face478`` (scores fall on
    the side that is turned away), ``hand21_left`` and ``hand21_right`` of the person.
    """

    def __init__(self, config: KeypointConfig, context: Context) -> None:
        self._config = config
        self._people = PersonFinder()
        self._hands = HandFinder()
        self._photo_look = HAND_CROPS if config.second_hand_pass else ()
        self._video_look = HAND_CROPS_VIDEO if config.second_hand_pass_video else ()

    def detect(self, image: np.ndarray, person: int | None = None) -> Keypoints:
        """See ``KeypointDetector.detect``."""
        original = _checked(image)
        image = brightened(original)
        people = comparable(self._people.find(image)) or comparable(self._people.find_small(image))
        people = self._distinct(image, people)
        chosen = self._choose(people, person)
        sighting = self._look_for(image, chosen)
        if sighting is None:  # the detection was not a person
            people = comparable(self._people.find_small(image)) or [chosen]
            chosen = self._choose(people, person)
            sighting = self._look_for(image, chosen)
        if sighting is None:
            raise InputError(NOBODY) if chosen.head > self._config.min_head_pixels else self._too_small(chosen.head)
        self._check(sighting, chosen, image.shape[1], image.shape[0])
        if image is not original:
            log.warning("The photo is very dark; the avatar will be dark and rough. Use a brighter photo.")
        if sighting.face is not None and _sharpness(image, sighting.face.points) < BLURRED:
            log.warning("The face is blurred, and the avatar's face will be too. Use a sharper photo.")
        return _keypoints(sighting, image.shape[1], image.shape[0], len(people))

    def detect_video(self, images: Iterable[np.ndarray]) -> Iterator[Keypoints | None]:
        """See ``KeypointDetector.detect_video``.

        Of several people the largest is followed, and now and then all are counted.
        """
        last: _Sighting | None = None
        count = 1
        for number, image in enumerate(images):
            image = brightened(_checked(image))
            now, people = None, None
            if number % COUNT_EVERY == 0:
                people = self._people.find(image)
                count = max(1, len(comparable(people)))
            if last is not None:
                now = self._look(image, last.region, self._video_look, before=last)
                if now is not None and not _follows(now, last):
                    now = None
            if now is None:
                people = self._people.find(image) if people is None else people
                if people:
                    best = max(people, key=lambda p: p.head * p.score)
                    now = self._look(image, best.roi, self._video_look, best, runs=BODY_RUNS_VIDEO)
                    if now is not None and not _is_person(now, best):
                        now = None
            last = now
            yield None if now is None else _keypoints(now, image.shape[1], image.shape[0], count)

    def everyone(self, image: np.ndarray) -> list[Keypoints]:
        """Return all people but passers-by, left to right, (H, W, 3) uint8.

        A photo without a person is refused.
        """
        height, width = image.shape[:2]
        image = brightened(image)
        people = comparable(self._people.find(image)) or comparable(self._people.find_small(image))
        sightings = (self._look_for(image, person) for person in people)
        return [_keypoints(s, width, height, len(people)) for s in sightings if s is not None]

    def _distinct(self, image: np.ndarray, people: list[Person]) -> list[Person]:
        """Merge detections whose landmarks end up on one body, as happens with stylized people; left to right."""
        kept: list[tuple[Person, np.ndarray | None]] = []
        for person in sorted(people, key=lambda p: (p.face, p.score), reverse=True) if len(people) > 1 else []:
            sighting = self._look_for(image, person)
            pose = None if sighting is None else sighting.pose[:, :2]
            if not any(_same_body(pose, other, person.head) for _, other in kept):
                kept.append((person, pose))
        return sorted((p for p, _ in kept), key=lambda p: p.x) or people

    def _choose(self, people: list[Person], number: int | None) -> Person:
        if not people:
            raise InputError(NOBODY)
        largest = max(people, key=lambda p: p.head)
        if largest.face and largest.head < 0.8 * self._config.min_head_pixels:
            raise self._too_small(largest.head)
        count = len(people)
        if number is None:
            if count > 1:
                raise InputError(
                    f"{count} people are in the photo; choose with --person N (1 to {count}, counted left to right), "
                    "or crop the photo to one of them.",
                    count,
                )
            return people[0]
        if not 1 <= number <= count:
            raise InputError(f"There is no person {number} in the photo: {count} found; --person counts from 1, left to right.")
        return people[number - 1]

    def _too_small(self, head: float) -> InputError:
        return InputError(
            f"The person is too small in the photo: the head is about {head:.0f} pixels high, "
            f"at least {self._config.min_head_pixels:.0f} are needed; use a larger or closer photo."
        )

    def _check(self, sighting: _Sighting, person: Person, width: int, height: int) -> None:
        """Refuse photos that cannot be used, each with its reason."""
        if sighting.tilt > UPSIDE_DOWN:
            raise InputError("The person is upside down in the photo; turn the photo by 180 degrees.")
        if sighting.tilt > TURNED:
            raise InputError("The person lies on the side in the photo; turn the photo so that the head is up.")
        if sighting.face is None and sighting.from_behind:
            raise InputError("The face is not visible: the person is seen from behind; use a photo from the front.")
        if sighting.head < self._config.min_head_pixels:
            raise self._too_small(sighting.head)
        if sighting.face is None:
            if not (person.face and _is_person(sighting, person)):
                raise InputError("The face is not visible (covered, cut off or turned away); use a photo that shows it.")
            return
        inside = ((sighting.face.points >= 0) & (sighting.face.points < (width, height))).all(1).mean()
        if inside < FACE_INSIDE:
            raise InputError("The face is cut off by the border of the photo; use a photo that shows all of it.")
        if inside < 0.95:
            log.warning("A part of the face is outside the photo; that side is guessed.")

    def _look_for(self, image: np.ndarray, person: Person) -> _Sighting | None:
        """Return the person that was detected.

        If the landmarks end up on another person, search again from the face down.
        """
        regions = [person.roi]
        if person.face:
            regions.append(body_under(person.x, person.y, person.head / HEAD_PER_FACE, person.score).roi)
        best, least = None, math.inf
        for region in regions:
            sighting = self._look(image, region, self._photo_look, person)
            if sighting is not None:
                away = math.dist(sighting.pose[:11, :2].mean(0), (person.x, person.y)) / person.head
                if away < least:
                    best, least = sighting, away
                if away < 0.35:
                    break
        return best

    def _look(
        self,
        image: np.ndarray,
        roi: Roi,
        second_look: tuple[float, ...],
        person: Person | None = None,
        before: _Sighting | None = None,
        runs: int = 1,
    ) -> _Sighting | None:
        """Return all landmarks of the person in a region, or None."""
        body = body_landmarks(image, roi)
        if body is None:
            return None
        region = _next_region(body.region, roi)
        for _ in range(runs - 1):
            again = body_landmarks(image, region)
            if again is None:
                break
            body, region = again, _next_region(again.region, region)
        pose, visibility, world = body.pose, body.visibility, body.world
        face = self._find_face(image, pose, person, None if before is None else before.face)
        if before is not None and face is None and _sides_swapped(pose, before.pose):
            pose, visibility, world = pose[OTHER_SIDE], visibility[OTHER_SIDE], world[OTHER_SIDE]
        head = _head_height(pose, face)
        hands = self._hands.find(image, pose[:, :2], visibility, head, {} if before is None else before.hands, second_look)
        return _Sighting(pose, visibility, world, head, face, hands, region)

    def _find_face(self, image: np.ndarray, pose: np.ndarray, person: Person | None, before: _Face | None) -> _Face | None:
        """Return the region in which to search the face.

        It is the region of the previous frame if the body model sees the head there, else the face detector's.
        """
        center, size = pose[: MOUTH[1] + 1, :2].mean(0), _head_width(pose)
        eyes = pose[LEFT_EYE, :2] - pose[RIGHT_EYE, :2]
        turn = math.atan2(eyes[1], eyes[0]) if np.hypot(*eyes) > 1 and eyes[0] > 0 else 0.0
        face = None if before is None else self._settled_face(image, _face_region(before.points), FACE_RUNS_VIDEO)
        if face is None:
            face = self._settled_face(image, Roi(float(center[0]), float(center[1]), 1.7 * size, turn))
        if face is None and person is not None and person.face:
            center, size = np.array([person.x, person.y]), person.head / HEAD_PER_FACE
            face = self._settled_face(image, Roi(person.x, person.y, 1.6 * size))
        if face is None or np.linalg.norm(face.points.mean(0) - center) > 0.7 * size:
            return None  # no face, or another person's
        return face

    def _settled_face(self, image: np.ndarray, roi: Roi, runs: int = FACE_RUNS) -> _Face | None:
        """Repeat the face model on the region that its own landmarks ask for."""
        points = np.zeros((0, 3), np.float32)
        for _ in range(runs):
            found = face_landmarks(image, roi)
            if found is None:
                return None
            points, roi = found, _face_region(found[:, :2])
        across = points[LEFT_CHEEK] - points[RIGHT_CHEEK]
        yaw = math.atan2(across[2], math.hypot(across[0], across[1]))
        if across[0] * math.cos(roi.rotation) + across[1] * math.sin(roi.rotation) < 0:
            return None  # inside out: a back of a head
        return _Face(points[:, :2], _facing(points, yaw), math.degrees(yaw))


def _checked(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"Keypoints need an (H, W, 3) uint8 picture, got {image.shape} {image.dtype}.")
    return image


def _sides_swapped(now: np.ndarray, before: np.ndarray) -> bool:
    """Return whether left and right have changed places since the frame before, though the person stayed.

    Without a face the body model may take a front for a back, from one frame to the next. A person cannot turn that fast.
    """
    limbs = slice(LEFT_SHOULDER, None)
    kept = np.linalg.norm(now[limbs, :2] - before[limbs, :2], axis=1).mean()
    swapped = np.linalg.norm(now[OTHER_SIDE][limbs, :2] - before[limbs, :2], axis=1).mean()
    return bool(swapped < 0.5 * kept and kept > 0.25 * _head_width(before))


def _head_width(pose: np.ndarray) -> float:
    """Return pixels; the largest of three guesses, as each vanishes in some view."""
    p = pose[:, :2]
    ears = np.linalg.norm(p[LEFT_EAR] - p[RIGHT_EAR])
    middle = np.linalg.norm(p[list(MOUTH)].mean(0) - (p[LEFT_EYE] + p[RIGHT_EYE]) / 2)
    shoulders = np.linalg.norm(p[LEFT_SHOULDER] - p[RIGHT_SHOULDER])
    return max(float(ears), 1.6 * float(middle), 0.35 * float(shoulders), 1.0)


def _head_height(pose: np.ndarray, face: _Face | None) -> float:
    if face is None:
        return 1.3 * _head_width(pose)
    return HEAD_PER_OVAL * float(np.linalg.norm(face.points[FOREHEAD] - face.points[CHIN]))


def _face_region(points: np.ndarray) -> Roi:
    """Return the turned square that the face model wants: level eyes, one and a half times the mesh."""
    eyes = points[LEFT_CORNER] - points[RIGHT_CORNER]
    turn = math.atan2(eyes[1], eyes[0])
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    inside = points @ axes.T
    low, high = inside.min(0), inside.max(0)
    x, y = (low + high) / 2 @ axes
    return Roi(float(x), float(y), 1.5 * float(np.max(high - low)), turn)


def _facing(points: np.ndarray, yaw: float) -> np.ndarray:
    """Return scores (478,): 1 toward the camera, falling to 0.1 on the far side of the head.

    The head is approximated by an ellipsoid.
    """
    right, left = points[RIGHT_CHEEK], points[LEFT_CHEEK]
    across = left - right
    side = np.clip((points - (right + left) / 2) @ across / (across @ across) * 2, -1, 1)
    facing = math.cos(yaw) * np.sqrt(1 - side**2) - math.sin(yaw) * side
    return np.clip(1 + facing / 0.35, 0.1, 1).astype(np.float32)


def _next_region(region: np.ndarray, before: Roi) -> Roi:
    """Return the body model's own next region: around the hips, as wide as the body is long.

    What it finds depends on where it looks, a pixel of its own being several of the picture. Of small changes of the region
    only a part is followed, so that people who keep still are looked at through the same window.
    """
    hip, rim = region.tolist()
    turn = math.pi / 2 - math.atan2(hip[1] - rim[1], rim[0] - hip[0])
    size = 2 * BODY_ROI * math.dist(hip, rim)
    turned = math.remainder(turn - before.rotation, 2 * math.pi)
    change = max(math.dist(hip, (before.x, before.y)) / before.size, abs(math.log(size / before.size)), abs(turned))
    gain = min(1.0, change / STEADY)
    return Roi(
        before.x + gain * (hip[0] - before.x),
        before.y + gain * (hip[1] - before.y),
        before.size + gain * (size - before.size),
        before.rotation + gain * turned,
    )


def _is_person(sighting: _Sighting, person: Person) -> bool:
    """Return whether a body whose face was not found counts as a person.

    The body model also finds hands and furniture.
    """
    if sighting.face is not None:
        return True
    arms = float(sighting.visibility[LEFT_SHOULDER : LEFT_SHOULDER + 4].mean())
    return person.score > 0.9 and arms > 0.75 and sighting.head > 0.3 * person.head


def _sharpness(image: np.ndarray, face: np.ndarray) -> float:
    """Return strength of the finest detail of a face that is drawn 128 pixels wide, against its contrast."""
    low = np.maximum(face.min(0), 0).astype(int)
    high = np.minimum(face.max(0), (image.shape[1], image.shape[0])).astype(int) + 1
    gray = cv2.cvtColor(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(cv2.Laplacian(small, cv2.CV_32F).std() / (small.std() + 1))


def _follows(now: _Sighting, last: _Sighting) -> bool:
    """Return whether it can be the same person one frame later."""
    moved = float(np.linalg.norm(now.pose[:11, :2].mean(0) - last.pose[:11, :2].mean(0)))
    return moved < 1.5 * last.head and 0.6 < now.head / last.head < 1.7


def _same_body(a: np.ndarray | None, b: np.ndarray | None, head: float) -> bool:
    """Return whether two poses (33, 2) share most joints; ``head`` is the height of a head, pixels."""
    if a is None or b is None:
        return False
    return bool((np.linalg.norm(a - b, axis=1) < SAME_JOINT * head).mean() > 0.5)


def _keypoints(sighting: _Sighting, width: int, height: int, count: int) -> Keypoints:
    points = {"pose33": sighting.pose[:, :2].copy()}
    scores = {"pose33": np.clip(sighting.visibility, 0, 1)}
    if sighting.face is not None and abs(sighting.face.yaw) <= MAX_YAW:
        points["face478"], scores["face478"] = sighting.face.points, sighting.face.scores
    for side, hand in sighting.hands.items():
        points[f"hand21_{side}"] = hand.points
        inside = ((hand.points >= 0) & (hand.points < (width, height))).all(1)
        scores[f"hand21_{side}"] = np.where(inside, hand.score, 0.3 * hand.score).astype(np.float32)
    return Keypoints(width, height, points, scores, {"pose33": sighting.world}, _box(sighting, width, height), person_count=count)


def _box(sighting: _Sighting, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the box around all points, with room for hair and clothes, inside the picture."""
    seen = [sighting.pose[sighting.visibility > 0.5, :2], sighting.pose[:11, :2]]
    seen += [h.points for h in sighting.hands.values()]
    if sighting.face is not None:
        seen.append(sighting.face.points)
    everything = np.concatenate(seen)
    margin = 0.3 * sighting.head
    low, high = everything.min(0) - (margin, 1.8 * margin), everything.max(0) + margin
    x0, y0 = np.clip(low, 0, (width, height))
    x1, y1 = np.clip(high, 0, (width, height))
    return float(x0), float(y0), float(x1), float(y1)
