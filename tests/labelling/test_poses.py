"""From a posed body to the points that a detector would have found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarkit.errors import PluginError
from avatarkit.labelling.poses import HIDDEN_DETAIL, HIDDEN_HEAD, VISIBLE, landmark_positions, observe
from avatarkit.labelling.wholebody import from_sets
from avatarkit.testing import ReferenceRenderer, TinyBody
from avatarkit.types.camera import front_camera


@pytest.fixture
def body():
    return TinyBody()


def _standing(body, root=(0.0, 0.0, 0.0), bend=0.0):
    neutral = body.neutral()
    joints = neutral.joints.clone()
    joints[4, 2] = bend
    return replace(
        neutral, root=torch.tensor(root), translation=torch.tensor([0.0, 0.0, -3.0]), joints=joints
    ).batched()


def test_joint_landmarks_follow_their_joints(body):
    params = _standing(body, bend=math.pi / 2)
    points = landmark_positions(body, params, body.vertices(params))[0]
    ahead = np.array([0.0, -0.9, -3.0])  # the root joint, 0.9 m up at rest, goes to the height of the camera
    np.testing.assert_allclose(points[6], np.array([-0.17, 1.36, 0.0]) + ahead, atol=1e-5)
    elbow, wrist = np.array([0.36, 1.12, 0.0]), np.array([0.52, 0.9, 0.0])
    turned = np.array([-(wrist - elbow)[1], (wrist - elbow)[0], 0.0])  # a quarter turn about z
    np.testing.assert_allclose(points[7], elbow + ahead, atol=1e-5)
    np.testing.assert_allclose(points[9], elbow + turned + ahead, atol=1e-5)
    assert np.isnan(points[13]).all()  # knees: not in the table
    assert np.isnan(points[91:]).all()  # hands: no table


def test_face_points_lie_on_the_face(body):
    params = _standing(body)
    points = landmark_positions(body, params, body.vertices(params))[0]
    assert (points[23:91, 2] > -3.0 + 0.05).all()
    table = body.landmarks("face478")
    corners = body.vertices(params)[0][table.triangles[152]]
    chin = (corners * table.barycentric[152][:, None]).sum(0).numpy()
    np.testing.assert_allclose(points[23 + 8], chin, atol=1e-6)
    assert points[23 + 36, 0] < points[23 + 45, 0]  # the right eye is on the left of a picture from the front
    assert points[23 + 8, 1] < points[23 + 51, 1] < points[23 + 30, 1] < points[23 + 36, 1]  # chin, lip, nose, eye


def test_projection_and_visibility(body):
    camera, meshes = front_camera(48, 72), ReferenceRenderer().meshes
    facing, turned = _standing(body), _standing(body, root=(0.0, math.pi, 0.0))
    points, scores = observe(body, facing, camera, meshes=meshes)
    expected = camera.project(torch.tensor([-0.17, 0.46, -3.0])).numpy()
    np.testing.assert_allclose(points[0, 6], expected, atol=1e-3)
    assert points[0, 5, 0] > points[0, 6, 0]  # the left side is on the picture's right
    assert (scores[0, [0, 1, 2, 5, 6, 7, 8]] == VISIBLE).all()
    assert (scores[0, 23:91] == VISIBLE).mean() > 0.9
    assert scores[0, 13] == 0
    assert np.isnan(points[0, 13]).all()
    _, behind = observe(body, turned, camera, meshes=meshes)
    np.testing.assert_allclose(behind[0, :3], HIDDEN_HEAD)
    np.testing.assert_allclose(behind[0, 23:91], HIDDEN_DETAIL)
    assert (behind[0, 5:9] == VISIBLE).all()  # joints lie inside the body, from behind too
    _, without = observe(body, turned, camera)
    assert (without[0, :3] == VISIBLE).all()


def test_points_outside_the_picture_are_not_seen(body):
    camera = front_camera(200, 300).cropped(0, 0, 200, 120)
    points, scores = observe(body, _standing(body), camera)
    below = points[0, :, 1] > 120
    assert below[[15, 16]].all()
    assert (scores[0, below] == 0).all()


def test_frames_are_worked_on_in_chunks_with_the_same_result(body):
    one = _standing(body, bend=0.3)
    many = replace(
        one,
        **{
            k: getattr(one, k).repeat(20, *(1,) * (getattr(one, k).ndim - 1))
            for k in ("expression", "root", "translation", "joints")
        },
    )
    points, scores = observe(body, many, front_camera(200, 300))
    assert points.shape == (20, 133, 2)
    np.testing.assert_array_equal(points[0], points[19])
    np.testing.assert_array_equal(scores[0], scores[19])


def test_a_body_without_tables_is_refused():
    class Bare(TinyBody):
        def landmarks(self, name):
            return None

    body = Bare()
    with pytest.raises(PluginError, match="tiny"):
        observe(body, _standing(body), front_camera(64, 64))


def test_whole_body_points_from_detected_sets():
    numbers = {"pose33": 33, "face478": 478, "hand21_left": 21, "hand21_right": 21}
    points = {
        k: np.stack([np.arange(n, dtype=float), np.full(n, 1000.0 * i)], 1) for i, (k, n) in enumerate(numbers.items())
    }
    scores = {k: np.full(n, 0.1 * (i + 1)) for i, (k, n) in enumerate(numbers.items())}
    scores["face478"][263] = 0.05
    out, confidence = from_sets(points, scores)
    assert np.isfinite(out).all()
    assert out[9].tolist() == [15.0, 0.0]  # left wrist
    assert out[10].tolist() == [16.0, 0.0]
    assert out[91].tolist() == [0.0, 2000.0]
    assert out[132].tolist() == [20.0, 3000.0]
    assert out[23 + 8].tolist() == [152.0, 1000.0]  # chin
    assert out[23 + 36].tolist() == [33.0, 1000.0]  # outer corner of the right eye
    assert out[1].tolist() == [(362 + 263) / 2, 1000.0]
    assert confidence[1] == pytest.approx(0.05)
    assert confidence[2] == pytest.approx(0.2)
    only, seen = from_sets({"pose33": points["pose33"]}, {"pose33": scores["pose33"]})
    assert np.isfinite(only[:23]).all()
    assert np.isnan(only[23:]).all()
    assert (seen[23:] == 0).all()
    own = np.random.default_rng(0).random((133, 2))
    same, _ = from_sets({"coco133": own, **points}, {"coco133": np.ones(133), **scores})
    np.testing.assert_array_equal(same, own)
