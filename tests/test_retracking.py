"""Re-tracking: how far a clip strays, and which of its frames are trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarkit.animation import place
from avatarkit.errors import InputError
from avatarkit.labelling.retracking import retrack
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_motion, tiny_subject
from avatarkit.types.body import Motion
from avatarkit.types.mesh import Mesh
from avatarkit.types.pseudo_labels import LabelClip


class Finder:
    """Hands the tracker the numbers of the frames."""

    def detect_video(self, images):
        return list(range(len(list(images))))


class Answer:
    """A tracker that finds given parameters."""

    def __init__(self, params, valid):
        self.params, self.valid = params, valid

    def track(self, frames, subject, fps, initial=None, cameras=None, images=None):
        assert frames == list(range(len(self.valid)))
        assert [image.shape for image in images] == [(64, 64, 3)] * len(frames)
        assert cameras is not None
        return Motion("tracked", fps, self.params, valid=self.valid)


@pytest.fixture(scope="module")
def scene():
    """Body, subject, mesh rasterizer, and a clip of four frames that shows the requested poses."""
    body, subject, meshes = TinyBody(), tiny_subject(), ReferenceRenderer().meshes
    params = place(tiny_motion(frames=4), subject.params, body)
    alpha = []
    for frame in range(4):
        vertices = body.vertices(params[frame].batched())[0]
        alpha.append((meshes.render(Mesh(vertices, body.faces), subject.camera).face_index >= 0).to(torch.uint8) * 255)
    mattes = torch.stack(alpha)
    frames, trust = mattes[..., None].repeat(1, 1, 1, 3), torch.full_like(mattes, 200)
    clip = LabelClip("clip", "body", frames, mattes, trust, params, params, (subject.camera,) * 4)
    return body, subject, meshes, clip


def _run(scene, params, valid=(True, True, True, True)):
    body, subject, meshes, clip = scene
    return retrack(clip, subject, body, Finder(), Answer(params, torch.tensor(valid)), meshes, 10.0)


def test_frames_that_agree_keep_their_confidence(scene):
    clip, drift = _run(scene, scene[3].requested)
    assert drift.mean_mm == pytest.approx(0, abs=1e-3)
    assert (drift.lost, drift.doubted) == (0, 0)
    assert drift.agreement > 0.95
    assert torch.equal(clip.confidence, scene[3].confidence)


def test_drift_is_measured_and_the_shape_is_the_subjects(scene):
    asked = scene[3].requested
    moved = replace(asked, translation=asked.translation + torch.tensor([0.05, 0.0, 0.0]), shape=asked.shape + 1)
    clip, drift = _run(scene, moved)
    assert drift.mean_mm == pytest.approx(50, abs=0.1)
    assert torch.equal(clip.params.shape, scene[1].params.shape)
    assert torch.equal(clip.params.translation, moved.translation)
    assert clip.requested is asked


def test_a_body_beside_the_person_is_not_trusted(scene):
    asked = scene[3].requested
    translation = asked.translation.clone()
    translation[2, 0] += 0.6
    clip, drift = _run(scene, replace(asked, translation=translation))
    assert clip.confidence.amax((1, 2)).tolist() == [200, 200, 0, 200]
    assert drift.doubted == 0.25


def test_a_clip_without_anybody_loses_all_trust_and_not_the_build(scene):
    class Lost:
        def track(self, *arguments):
            raise InputError("Nobody was found in any frame.")

    body, subject, meshes, clip = scene
    answer, drift = retrack(clip, subject, body, Finder(), Lost(), meshes, 10.0)
    assert not answer.confidence.any()
    assert answer.params is clip.requested
    assert drift.lost == 1


def test_lost_frames_are_not_trusted(scene):
    clip, drift = _run(scene, scene[3].requested, (True, False, True, False))
    assert clip.confidence.amax((1, 2)).tolist() == [200, 0, 200, 0]
    assert drift.lost == 0.5
    clip, drift = _run(scene, scene[3].requested, (False,) * 4)
    assert not clip.confidence.any()
    assert drift.mean_mm != drift.mean_mm
    assert drift.agreement == 0
