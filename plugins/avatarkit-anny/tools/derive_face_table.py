"""Derives ``face478.npz``: where each of MediaPipe's 478 face points lies on the body model.

    python tools/derive_face_table.py avatarkit_anny/data/face478.npz

Heads of many identities and expressions are rendered from many sides and shown to MediaPipe's face mesh. For each point
that place on the skin is taken whose projections agree best with the detections in all views; then both sides of the
face are made symmetric. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import mediapipe
import numpy as np
import torch
from painting import Person, random_person  # type: ignore[import-not-found]
from rendering import Picture, look_at, render  # type: ignore[import-not-found]
from scipy.optimize import linear_sum_assignment

from avatarkit.interfaces import Context
from avatarkit_anny.config import AnnyConfig
from avatarkit_anny.model import AnnyBody

MESH_POINTS = 468  # the others are the irises
VIEWS = [(0, 0), (0, 12), (0, -12), (15, 0), (-15, 0), (30, 0), (-30, 0), (22, 10), (-22, 10), (22, -10), (-22, -10)]
VIEWS += [(42, 0), (-42, 0)]
EXPRESSIONS = {
    "jawOpen": 0.5, "eyeBlinkLeft": 0.45, "eyeBlinkRight": 0.45, "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5,
    "browInnerUp": 0.6, "mouthFunnel": 0.5, "eyeWideLeft": 0.5, "eyeWideRight": 0.5,
}  # fmt: skip
SIZE, FOCAL, DISTANCE = 512, 2600.0, 1.5
ROBUST_PIXELS = 5.0
FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Points:
    """Points on triangles: (n, 3) vertex numbers and (n, 3) barycentric weights."""

    triangles: np.ndarray
    weights: np.ndarray

    def on(self, values: np.ndarray) -> np.ndarray:
        """(n, C) values of a mesh at the points."""
        return (values[self.triangles] * self.weights[..., None]).sum(1)


def photograph(body: AnnyBody, identities: int, rng: np.random.Generator) -> list[tuple[Picture, np.ndarray]]:
    """Pictures with the (478, 2) points that were detected in them."""
    faces = body.faces.numpy()
    shots = []
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3
    ) as detector:
        for n in range(identities):
            shape = random_person(body, rng, spread=0.45, ages=(0.6, 0.9))
            expression = torch.zeros(1, len(body.expression_names))
            for name, most in EXPRESSIONS.items() if n % 2 else ():
                if rng.uniform() < 0.5:
                    expression[0, body.expression_names.index(name)] = float(rng.uniform(0, most))
            rest = body.shaped(shape).numpy()
            vertices = body.rest(shape, expression)[0].numpy()
            center = head_center(body, vertices)
            person = Person(body, rest, tone=rng.uniform(0.45, 1.1), brows=n % 4 != 3)
            for yaw, pitch in VIEWS:
                turn = np.array([yaw, pitch]) + rng.normal(0, 2, 2)
                camera = look_at(center, *turn, distance=DISTANCE, focal=FOCAL, size=SIZE)
                light = np.array([rng.normal(0, 0.4), -0.4, -1.0])
                picture = render(vertices, rest, faces, camera, person, light, background=rng.uniform(0.2, 0.9))
                found = detector.process(picture.image).multi_face_landmarks
                if found:
                    points = np.array([[p.x * SIZE, p.y * SIZE] for p in found[0].landmark])
                    shots.append((picture, points))
    return shots


def skin_faces(body: AnnyBody, template: np.ndarray) -> np.ndarray:
    """(n, 3) faces of the head that can be seen; sockets and the hidden folds of lids lie near points, too."""
    faces = body.faces.numpy()
    seen = np.zeros(len(faces), bool)

    def note(face: np.ndarray, place: np.ndarray) -> np.ndarray:
        seen[face] = True
        return np.zeros_like(place)

    for yaw, pitch in VIEWS:
        camera = look_at(head_center(body, template), yaw, pitch, DISTANCE, FOCAL, SIZE)
        render(template, template, faces, camera, note, np.array([0.0, 0.0, -1.0]), 0.0, supersample=2)
    inside = np.maximum.reduce([body.part(p).numpy() for p in ("mouth_inside", "teeth", "tongue", "eyes")])
    head, lips = body.part("head").numpy(), body.part("lips").numpy()
    outside = (head > 0.5) & ((inside < 0.5) | (lips > 0.5))
    return faces[seen & outside[faces].all(1)]


def head_center(body: AnnyBody, vertices: np.ndarray) -> np.ndarray:
    """(3,) what a camera should look at."""
    head = vertices[body.part("head").numpy() > 0.5]
    return np.array([0.0, head[:, 1].max() - 0.13, head[:, 2].max() - 0.09])


def candidates(template: np.ndarray, faces: np.ndarray) -> Points:
    """Corners, middles of edges and middles of faces, each place once."""
    third, half = 1 / 3, 1 / 2
    pattern = np.array(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [third, third, third], [half, half, 0], [0, half, half], [half, 0, half]]
    )
    points = Points(np.repeat(faces, len(pattern), 0), np.tile(pattern, (len(faces), 1)))
    _, once = np.unique(np.round(points.on(template) * 1e5).astype(int), axis=0, return_index=True)
    return Points(points.triangles[once], points.weights[once])


def best_places(shots: list[tuple[Picture, np.ndarray]], points: Points, template: np.ndarray) -> np.ndarray:
    """(468, 3) places on the template that explain the detections best, by a robust error over all views."""
    error = np.zeros((MESH_POINTS, len(points.triangles)), np.float32)
    total = np.zeros(len(points.triangles), np.float32)
    for picture, detected in shots:
        place = points.on(picture.vertices)
        facing = _facing(points, picture, place)
        # Unseen places keep a little weight, or those that few views show would look best.
        weight = np.where(facing > 0.15, 0.3 + facing, 0.03).astype(np.float32)
        pixels = picture.camera.project(place).astype(np.float32)
        square = ((detected[:MESH_POINTS, None].astype(np.float32) - pixels) ** 2).sum(2)
        error += weight * square / (square + ROBUST_PIXELS**2)
        total += weight
    error /= total
    where = points.on(template)
    out = np.zeros((MESH_POINTS, 3))
    for k, row in enumerate(error):  # finer than the candidates: average of those near the best, by their error
        near = np.linalg.norm(where - where[row.argmin()], axis=1) < 0.006
        weight = np.exp(-(row[near] - row.min()) / 0.01)
        out[k] = (where[near] * weight[:, None]).sum(0) / weight.sum()
    return out


def _facing(points: Points, picture: Picture, place: np.ndarray) -> np.ndarray:
    """(n,) cosine between the surface and the view."""
    normal = points.on(picture.normals)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(place, axis=1)
    return np.clip(-(normal * place).sum(1) / length, 0, 1)


def symmetric(places: np.ndarray) -> np.ndarray:
    """Averages each place with the mirror image of its partner."""
    distance = np.linalg.norm((places * FLIP)[:, None] - places[None], axis=2)
    partner = linear_sum_assignment(distance**2)[1]
    if not (partner[partner] == np.arange(len(places))).all():
        raise SystemExit("The two sides of the face do not match; use more identities.")
    return (places + places[partner] * FLIP) / 2


def nearest_on(template: np.ndarray, faces: np.ndarray, places: np.ndarray) -> Points:
    """Closest points of a mesh."""
    a = template[faces[:, 0]]
    ab, ac = template[faces[:, 1]] - a, template[faces[:, 2]] - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    chosen = np.zeros(len(places), int)
    weights = np.zeros((len(places), 3))
    for k, place in enumerate(places):
        d20, d21 = (ab * (place - a)).sum(1), (ac * (place - a)).sum(1)
        v = (d11 * d20 - d01 * d21) / (d00 * d11 - d01**2 + 1e-20)
        w = (d00 * d21 - d01 * d20) / (d00 * d11 - d01**2 + 1e-20)
        inside = (v >= 0) & (w >= 0) & (v + w <= 1)
        along_ab, along_ac = (np.clip(x / (y + 1e-20), 0, 1) for x, y in ((d20, d00), (d21, d11)))
        bc = ac - ab
        along_bc = np.clip(((place - a - ab) * bc).sum(1) / ((bc * bc).sum(1) + 1e-20), 0, 1)
        none = np.zeros_like(v)
        options = np.stack(
            [
                np.stack([1 - v - w, v, w], 1),
                np.stack([1 - along_ab, along_ab, none], 1),
                np.stack([1 - along_ac, none, along_ac], 1),
                np.stack([none, 1 - along_bc, along_bc], 1),
            ],
            1,
        )
        distance = np.linalg.norm((template[faces][:, None] * options[..., None]).sum(2) - place, axis=2)
        distance[~inside, 0] = np.inf
        chosen[k], option = np.unravel_index(distance.argmin(), distance.shape)
        weights[k] = options[chosen[k], option]
    return Points(faces[chosen], weights)


def irises(body: AnnyBody, template: np.ndarray) -> Points:
    """Center and four points of the rim, right eye first."""
    faces = body.faces.numpy()
    found = []
    for side in (-1.0, 1.0):
        eye = (body.part("eyes").numpy() > 0.5) & (template[:, 0] * side > 0)
        center = template[eye].mean(0)
        radius = np.linalg.norm(template[eye] - center, axis=1).max()
        rim = np.array([[0, 0, 1], [0.5, 0, 1], [0, 0.5, 1], [-0.5, 0, 1], [0, -0.5, 1]])
        rim /= np.linalg.norm(rim, axis=1, keepdims=True)
        found.append(nearest_on(template, faces[eye[faces].all(1)], center + radius * rim))
    return Points(*(np.concatenate([getattr(p, name) for p in found]) for name in ("triangles", "weights")))


def residuals(shots: list[tuple[Picture, np.ndarray]], points: Points) -> np.ndarray:
    """(468,) meters: median distance to the detections in views that show the point; 2 mm where none does."""
    away = np.full((len(shots), MESH_POINTS), np.nan)
    for row, (picture, detected) in zip(away, shots, strict=True):
        place = points.on(picture.vertices)
        seen = _facing(points, picture, place) > 0.15
        distance = np.linalg.norm(picture.camera.project(place) - detected[:MESH_POINTS], axis=1)
        row[seen] = (distance * place[:, 2] / FOCAL)[seen]
    shown = ~np.isnan(away).all(0)
    out = np.full(MESH_POINTS, 2e-3)
    out[shown] = np.nanmedian(away[:, shown], axis=0)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--identities", type=int, default=28)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    body = AnnyBody(AnnyConfig(), Context())
    template = body.shaped(body.neutral().shape).numpy()
    shots = photograph(body, arguments.identities, np.random.default_rng(0))
    skin = skin_faces(body, template)
    places = symmetric(best_places(shots, candidates(template, skin), template))
    mesh, eyes = nearest_on(template, skin, places), irises(body, template)
    sigma = np.concatenate([residuals(shots, mesh), np.full(10, 1e-3)])
    np.savez_compressed(
        arguments.output,
        triangles=np.concatenate([mesh.triangles, eyes.triangles]).astype(np.uint16),
        barycentric=np.concatenate([mesh.weights, eyes.weights]).astype(np.float32),
        sigma=sigma.astype(np.float32),
    )
    middle, high = np.quantile(sigma[:MESH_POINTS], [0.5, 0.9]) * 1e3
    logging.info("%d pictures; residual %.2f mm, nine of ten below %.2f mm", len(shots), middle, high)


if __name__ == "__main__":
    main()
