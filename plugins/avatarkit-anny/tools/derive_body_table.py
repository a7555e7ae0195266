"""Derives ``joints.json``: MediaPipe's 33 body and 21 hand points as offsets in the frames of the body model's joints.

    python tools/derive_body_table.py avatarkit_anny/data/joints.json

Random people in random poses are rendered and shown to MediaPipe's pose and hand detectors. For each point the offset
is solved that, carried by its joint, projects best onto the detections in all pictures; left and right are solved as
one, for their frames are mirror images along x. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
import torch
from painting import Person, random_person  # type: ignore[import-not-found]
from rendering import Camera, look_at, render  # type: ignore[import-not-found]
from scipy.optimize import least_squares

from avatarkit.interfaces import Context, Skeleton
from avatarkit_anny.config import AnnyConfig
from avatarkit_anny.model import AnnyBody

# Point: (joint that carries it, joint towards which the bone goes that scales it). None: the bone before the joint.
BODY_LEFT: dict[int, tuple[str, str | None]] = {
    7: ("head", "eye"),
    11: ("upperarm01", "upperarm02"),
    13: ("lowerarm01", "lowerarm02"),
    15: ("wrist", "metacarpal2"),
    17: ("metacarpal4", "finger5-1"),
    19: ("metacarpal1", "finger2-1"),
    21: ("finger1-1", "finger1-2"),
    23: ("upperleg01", "upperleg02"),
    25: ("lowerleg01", "lowerleg02"),
    27: ("foot", "toe2-1"),
    29: ("foot", "toe2-1"),
    31: ("foot", "toe2-1"),
}
NOSE = 0
HAND: dict[int, tuple[str, str | None]] = {
    0: ("wrist", "metacarpal2"),
    1: ("finger1-1", "finger1-2"),
    2: ("finger1-2", "finger1-3"),
    3: ("finger1-3", None),
    4: ("finger1-3", None),
}
for _finger in range(2, 6):
    _first = 4 * _finger - 3
    HAND[_first] = (f"finger{_finger}-1", f"finger{_finger}-2")
    HAND[_first + 1] = (f"finger{_finger}-2", f"finger{_finger}-3")
    HAND[_first + 2] = HAND[_first + 3] = (f"finger{_finger}-3", None)

FLIP = np.array([-1.0, 1.0, 1.0])
LIGHT = (-0.5, -1.0)
BODY_SIZE, BODY_FOCAL, BODY_DISTANCE = 640, 1000.0, 4.2
HAND_SIZE, HAND_FOCAL, HAND_DISTANCE = 320, 1100.0, 1.0


@dataclass(frozen=True)
class Sighting:
    """A point that was detected.

    Attributes:
        rotation (3, 3), origin (3,): frame of its joint in camera space. scale: of its bone, 1 for the default shape.
        pixel: (2,) where it was detected. camera: that saw it. mirrored: whether it is of the right side.
    """

    rotation: np.ndarray
    origin: np.ndarray
    scale: float
    pixel: np.ndarray
    camera: Camera
    mirrored: bool


class Scene:
    """One random person in a random pose."""

    def __init__(self, body: AnnyBody, rng: np.random.Generator) -> None:
        self.body = body
        self.shape = random_person(body, rng, spread=0.4, ages=(0.6, 0.85))
        self.skeleton = body.skeleton(self.shape)
        joints = torch.from_numpy(random_pose(body.joint_names, rng)).float()
        zero = torch.zeros(1, 3)
        transforms = body.joint_transforms(self.skeleton, zero, zero, joints[None])[0]
        neutral = body.neutral()
        params = type(neutral)("anny", self.shape, neutral.expression[None], zero, zero, joints[None])
        self.vertices = body.vertices(params)[0].numpy().astype(float)
        self.rest = body.shaped(self.shape).numpy().astype(float)
        rotation = transforms[:, :3, :3]
        heads = (rotation @ self.skeleton.positions[..., None])[..., 0] + transforms[:, :3, 3]
        self.frames = (rotation @ self.skeleton.orientations).numpy().astype(float)
        self.heads = heads.numpy().astype(float)
        tone = rng.uniform(0.5, 1.1)
        self.paint = Person(
            body, self.rest, tone, hair=True, shirt=rng.uniform(0.1, 0.9, 3), trousers=rng.uniform(0.05, 0.5, 3)
        )

    def joint(self, name: str, side: str) -> int:
        """Return the number of a joint, given without its side."""
        names = self.body.joint_names
        return names.index(f"{name}.{side}" if f"{name}.{side}" in names else name)

    def sighting(
        self, where: tuple[str, str | None], side: str, pixel: np.ndarray, camera: Camera, default: Skeleton
    ) -> Sighting:
        """Return a detection of a point of ``BODY_LEFT`` or ``HAND``, on either side."""
        joint = self.joint(where[0], side)
        ends = (self.body.parents[joint], joint) if where[1] is None else (joint, self.joint(where[1], side))
        own, usual = (float((s.positions[ends[0]] - s.positions[ends[1]]).norm()) for s in (self.skeleton, default))
        return Sighting(
            rotation=camera.rotation @ self.frames[joint],
            origin=camera.view(self.heads[joint]),
            scale=own / usual,
            pixel=pixel,
            camera=camera,
            mirrored=side == "R",
        )


def random_pose(names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """(J, 3) axis-angle: arms in front and to the side, some steps, loose fingers."""
    pose = np.zeros((len(names), 3))

    def turn(name: str, *vector: float) -> None:
        pose[names.index(name)] = vector

    u = rng.uniform
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turn(f"upperarm01.{side}", u(-0.9, 0.2), -sign * u(-0.3, 0.9), sign * u(-0.3, 0.9))
        turn(f"lowerarm01.{side}", -u(0, 1.9), -sign * u(-0.2, 0.9), 0)
        turn(f"wrist.{side}", *u(-0.4, 0.4, 3))
        turn(f"upperleg01.{side}", u(-0.6, 0.2), 0, sign * u(0, 0.25))
        turn(f"lowerleg01.{side}", u(0, 0.7), 0, 0)
        for finger in range(1, 6):
            for bone in range(1, 4):
                turn(f"finger{finger}-{bone}.{side}", *rng.normal(0, 0.18, 3))
    turn("neck02", u(-0.2, 0.2), u(-0.35, 0.35), u(-0.1, 0.1))
    turn("spine03", u(-0.15, 0.15), u(-0.2, 0.2), u(-0.1, 0.1))
    return pose


def photograph(body: AnnyBody, people: int, rng: np.random.Generator) -> dict[tuple[str, int], list[Sighting]]:
    """Sightings of all points: ("body", left or middle point) and ("hand", point)."""
    default = body.skeleton(body.neutral().shape)
    seen: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
    solutions: Any = mediapipe.solutions
    with (
        solutions.pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.3) as pose,
        solutions.hands.Hands(static_image_mode=True, max_num_hands=1, min_detection_confidence=0.3) as hands,
    ):
        for _ in range(people):
            scene = Scene(body, rng)
            _see_body(scene, pose, default, rng, seen)
            for side in "LR":
                for spread in (40.0, 180.0):
                    _see_hand(scene, side, spread, hands, default, rng, seen)
    return seen


def _see_body(scene: Scene, detector: Any, default: Skeleton, rng: np.random.Generator, seen: dict) -> None:
    v = scene.vertices
    camera = look_at(
        (v.min(0) + v.max(0)) / 2, rng.uniform(-35, 35), rng.uniform(-8, 8), BODY_DISTANCE, BODY_FOCAL, BODY_SIZE
    )
    found = detector.process(_image(scene, camera, rng)).pose_landmarks
    if not found:
        return
    pixels = np.array([[p.x, p.y] for p in found.landmark]) * BODY_SIZE
    seen["body", NOSE].append(scene.sighting(("head", "eye"), "L", pixels[NOSE], camera, default))
    for point, where in BODY_LEFT.items():
        for shift, side in enumerate("LR"):
            seen["body", point].append(scene.sighting(where, side, pixels[point + shift], camera, default))


def _see_hand(
    scene: Scene, side: str, spread: float, detector: Any, default: Skeleton, rng: np.random.Generator, seen: dict
) -> None:
    hand = scene.body.part("left_hand" if side == "L" else "right_hand").numpy() > 0.5
    yaw, pitch = rng.uniform(-spread, spread), rng.uniform(-40, 40)
    camera = look_at(scene.vertices[hand].mean(0), yaw, pitch, HAND_DISTANCE, HAND_FOCAL, HAND_SIZE)
    result = detector.process(_image(scene, camera, rng))
    if not result.multi_hand_landmarks:
        return
    # MediaPipe takes pictures for mirrored: what it calls a right hand is a left one.
    kind = result.multi_handedness[0].classification[0]
    if (kind.label == "Right") != (side == "L") or kind.score < 0.9:
        return
    pixels = np.array([[p.x, p.y] for p in result.multi_hand_landmarks[0].landmark]) * HAND_SIZE
    knuckles = [scene.joint(f"finger{finger}-1", side) for finger in range(2, 6)]
    away = camera.project(camera.view(scene.heads[knuckles])) - pixels[[5, 9, 13, 17]]
    if np.linalg.norm(away, axis=1).mean() > 20:  # not this hand at all
        return
    for point, where in HAND.items():
        seen["hand", point].append(scene.sighting(where, side, pixels[point], camera, default))


def _image(scene: Scene, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    light = np.array([rng.normal(0, 0.45), *LIGHT])
    faces = scene.body.faces.numpy()
    return render(scene.vertices, scene.rest, faces, camera, scene.paint, light, background=rng.uniform(0.3, 0.9)).image


def solve(seen: list[Sighting]) -> tuple[np.ndarray, float]:
    """Offset (3,) of the left side and the median distance to the detections, meters."""
    flip = np.stack([FLIP if s.mirrored else np.ones(3) for s in seen]) * np.array([[s.scale] for s in seen])
    rotation, origin = np.stack([s.rotation for s in seen]), np.stack([s.origin for s in seen])
    pixel = np.stack([s.pixel for s in seen])
    focal = np.array([[s.camera.focal] for s in seen])
    middle = np.array([[s.camera.size / 2] for s in seen])

    def away(offset: np.ndarray) -> np.ndarray:
        point = (rotation @ (flip * offset)[..., None])[..., 0] + origin
        projected = point[:, :2] / point[:, 2:] * focal + middle
        return (projected - pixel) * point[:, 2:] / focal

    solution = least_squares(lambda x: away(x).ravel() * 100, np.zeros(3), loss="soft_l1")  # robust beyond 1 cm
    return solution.x, float(np.median(np.linalg.norm(away(solution.x), axis=1)))


def entry(point: int, where: tuple[str, str | None], side: str, offset: np.ndarray, sigma: float) -> dict:
    """Return a row of the table."""

    def sided(name: str) -> str:
        return name if name == "head" else f"{name}.{side}"

    return {
        "point": point,
        "joint": sided(where[0]),
        "towards": None if where[1] is None else sided(where[1]),
        "offset": np.round(offset * (FLIP if side == "R" else 1.0), 5).tolist(),
        "sigma": round(sigma, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--people", type=int, default=90)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    body = AnnyBody(AnnyConfig(), Context())
    seen = photograph(body, arguments.people, np.random.default_rng(1))
    nose, sigma = solve(seen["body", NOSE])
    table = {
        "pose33": [entry(NOSE, ("head", "eye"), "L", nose * [0, 1, 1], sigma)],
        "hand21_left": [],
        "hand21_right": [],
    }
    for point, where in BODY_LEFT.items():
        offset, sigma = solve(seen["body", point])
        table["pose33"] += [entry(point + shift, where, side, offset, sigma) for shift, side in enumerate("LR")]
    for point, where in HAND.items():
        offset, sigma = solve(seen["hand", point])
        for side, name in (("L", "hand21_left"), ("R", "hand21_right")):
            table[name].append(entry(point, where, side, offset, sigma))
    blocks = [
        f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for name, rows in table.items()
    ]
    arguments.output.write_text("{\n" + ",\n".join(blocks) + "\n}\n")
    logging.info("%d bodies and %d hands were seen", len(seen["body", NOSE]), len(seen["hand", 0]))


if __name__ == "__main__":
    main()
