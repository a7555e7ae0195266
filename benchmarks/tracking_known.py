"""How well the body follows a person whose photo is known: a table with a row per clip.

    python benchmarks/tracking_known.py CLIP... --frames 75

The first frame is the photo. Its pixels are carried along by the tracked mesh and compared with each fifth frame, in gray and
480 pixels at most: decibels (PSNR) on the head and on the rest of the person, beside those of the photo held still. Once the
body is tracked by landmarks alone, once with the photo's texture, as in ``evaluate`` and for clips of label generators.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.io.video import probe, read_frames
from avatarkit.tracking import MAX_SIDE
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Subject

LONGEST, EVERY, INSIDE = 480, 5, 0.95


class Carried:
    """The photo on the body, in gray."""

    def __init__(self, subject: Subject, components: Components) -> None:
        self.subject, self.camera = subject, subject.camera.scaled_to(LONGEST)
        self.body, self.meshes = components.get("body"), components.get("renderer").meshes
        self.photo = self.gray((subject.photo.image * 255).round().to(torch.uint8).numpy())
        drawn, self.places = self._draw(subject.params)
        face = drawn.face_index.numpy()
        self.seen = np.zeros(len(self.body.faces), bool)
        self.seen[face[face >= 0]] = True
        self.mine = cv2.resize(subject.matte.alpha.numpy(), (self.camera.width, self.camera.height))
        self.head = (self.body.part("head") > 0.5)[self.body.faces].any(1).numpy()

    def gray(self, image: np.ndarray) -> np.ndarray:
        """(H, W) float32, 0 to 1, of (H, W, 3) uint8."""
        small = cv2.resize(image, (self.camera.width, self.camera.height), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255

    def _draw(self, params: BodyParams) -> tuple[MeshRendering, torch.Tensor]:
        """Return the mesh as the camera sees it, and its vertices' pixels (V, 2)."""
        vertices = self.body.vertices(params.batched(), self.subject.vertex_offsets)[0]
        return self.meshes.render(Mesh(vertices, self.body.faces), self.camera), self.camera.project(vertices)

    def errors(self, image: np.ndarray, params: BodyParams) -> np.ndarray:
        """(2, 2) mean squared error on the head and on the rest, of the photo held still and carried."""
        drawn, _ = self._draw(params)
        face = drawn.face_index.numpy()
        corners = self.places[self.body.faces[drawn.face_index.clamp_min(0)]]
        at = (corners * drawn.barycentric[..., None]).sum(-2).numpy().astype(np.float32) - 0.5
        shown = (face >= 0) & self.seen[face.clip(0)]
        shown &= cv2.remap(self.mine, at[..., 0], at[..., 1], cv2.INTER_LINEAR) > INSIDE
        frame = self.gray(image)
        carried = cv2.remap(self.photo, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        on_head = shown & self.head[face.clip(0)]
        parts = (on_head, shown & ~on_head)
        return np.array([[np.square(p - frame)[part].mean() for p in (self.photo, carried)] for part in parts])


def decibels(errors: Sequence[np.ndarray]) -> list[str]:
    """Of the mean over frames, (2, 2): head still, head carried, rest still, rest carried."""
    return [f"{-10 * math.log10(e):.1f}" for e in np.mean(errors, 0).flatten()]


def track_known(path: Path, components: Components, limit: int) -> str:
    """One row."""
    fps = probe(path).fps
    images = [image for _, image in islice(read_frames(path, fps, MAX_SIDE), limit)]
    detector, tracker = components.get("keypoints"), components.get("tracker")
    photo = Photo(torch.from_numpy(images[0]).float() / 255, None, "0" * 64, path.name)
    first = detector.detect(images[0])
    subject = tracker.fit(photo, components.get("matting").matte(photo, first), first)
    seen = list(detector.detect_video(iter(images)))
    carried = Carried(subject, components)
    rows = []
    for pictures in (None, images):
        motion: Motion = tracker.track(seen, subject, fps, images=pictures)
        rows.append(decibels([carried.errors(images[k], motion.params[k]) for k in range(0, len(images), EVERY)]))
    (still, alone, still_rest, alone_rest), (_, textured, _, textured_rest) = rows
    return f"| {path.stem} | {still} | {alone} | {textured} | {still_rest} | {alone_rest} | {textured_rest} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=75, help="at most so many of each clip")
    options = parser.parse_args()
    components = Components(Recipe.load("standard"))
    print("| clip | head, dB, still | landmarks alone | with texture | rest, still | landmarks alone | with texture |")
    print("|---|---|---|---|---|---|---|")
    with torch.no_grad():
        for path in options.clips:
            print(track_known(path, components, options.frames), flush=True)


if __name__ == "__main__":
    main()
