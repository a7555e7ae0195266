"""A stand-in checkout with all the files that a real one needs (empty), and a person."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avatarkit.labelling import driving
from avatarkit.testing import ReferenceRenderer, tiny_context, tiny_motion, tiny_subject
from avatarkit.types.mesh import MeshRendering
from avatarkit.types.subject import Matte
from avatarkit_portrait4d.checkout import _GENERATE_FILES, _PREPARE_FILES
from avatarkit_portrait4d.config import Portrait4DConfig


class HalfMatting:
    """The left half is the person."""

    def matte(self, photo, keypoints=None):
        alpha = torch.zeros(photo.image.shape[:2])
        alpha[:, : photo.width // 2] = 1
        return Matte(alpha, photo.image)


@pytest.fixture
def checkout(tmp_path) -> Path:
    root = tmp_path / "a check out"  # people have spaces in their paths
    shutil.copytree(Path(__file__).parent / "checkout", root)
    network = "portrait4d/pretrained_models/portrait4d-v2-vfhq512.pkl"
    for name in (network, *_GENERATE_FILES, *_PREPARE_FILES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"stand-in")
    return root


@pytest.fixture
def config(checkout) -> Portrait4DConfig:
    return Portrait4DConfig(
        checkout=checkout, python=Path(sys.executable), allow_pickle=True, fps=10, startup_seconds=60, frame_seconds=30
    )


@pytest.fixture(scope="session")
def person():
    """The tiny subject with the landmarks of its face."""
    from avatarkit.labelling.poses import observe
    from avatarkit.types.keypoints import Keypoints

    subject, context = tiny_subject(size=128), tiny_context()
    points, scores = observe(context.get("body"), subject.params.batched(), subject.camera)
    found = Keypoints(128, 128, {"coco133": points[0]}, {"coco133": scores[0]})
    return replace(subject, keypoints=found)


class CoarseMeshes:
    """Draws few, large pixels: the reference rasterizer is slow."""

    def render(self, mesh, camera):
        n = max(1, camera.width // 64)
        drawn = ReferenceRenderer().meshes.render(mesh, camera.resized(camera.width // n, camera.height // n))
        layers = (drawn.mask, drawn.face_index, drawn.barycentric, drawn.depth)
        return MeshRendering(*(x.repeat_interleave(n, 0).repeat_interleave(n, 1) for x in layers))


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setattr(driving, "SAMPLES", 1)
    return tiny_context(tmp_path / "cache", matting=HalfMatting(), renderer=SimpleNamespace(meshes=CoarseMeshes()))


@pytest.fixture(scope="session")
def motion():
    """Four frames; the head turns."""
    motion = tiny_motion(frames=4)
    joints = motion.params.joints.clone()
    joints[:, 2, 1] = torch.linspace(0, 0.5, 4)
    return replace(motion, params=replace(motion.params, joints=joints))
