"""Cameras, rotations, skinning, losses: the mathematics that everything stands on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import avatarkit
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.metrics import windows
from avatarkit.testing import TinyBody
from avatarkit.tracking import _fleeting
from avatarkit.training.views import _details
from avatarkit.types.camera import front_camera, orbit
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.landmark_sets import LAYOUTS
from avatarkit.types.mesh import barycentric, linear_blend_skinning, vertex_normals
from avatarkit_coupled_gs.losses.image_losses import l1, ssim_map, weighted_mean

angles = st.lists(st.floats(-2.9, 2.9), min_size=3, max_size=3).map(lambda v: torch.tensor(v, dtype=torch.float64))


def test_a_person_in_front_stands_upright_with_their_left_on_the_right():
    camera = front_camera(200, 100)
    head, left_hand = camera.project(torch.tensor([[0.0, 0.5, -3.0], [0.5, 0.0, -3.0]]))
    assert head[1] < 50 and left_hand[0] > 100
    assert camera.to_camera(torch.tensor([0.0, 0.0, -3.0]))[2] == pytest.approx(3.0)


@given(st.floats(-80, 80), st.floats(-60, 60))
@settings(max_examples=30, deadline=None)
def test_orbit_keeps_the_center_in_place_and_at_distance(yaw, pitch):
    camera, center = front_camera(100, 100), torch.tensor([0.1, 0.2, -2.0])
    moved = orbit(camera, center, yaw, pitch)
    assert torch.allclose(moved.project(center), camera.project(center), atol=2e-3)
    R = moved.T_camera_world[:3, :3]
    assert torch.allclose(R @ R.T, torch.eye(3), atol=1e-5)


def test_orbit_turns_to_the_right_and_up():
    camera, center = front_camera(100, 100), torch.tensor([0.0, 0.0, -2.0])
    assert orbit(camera, center, 30).position[0] > 0.5
    assert orbit(camera, center, 0, 30).position[1] > 0.5


def test_crop_and_resize_see_the_same_world():
    camera, point = front_camera(200, 100), torch.tensor([0.3, -0.2, -2.5])
    x, y = camera.project(point)
    cropped = camera.cropped(20, 10, 100, 50).resized(50, 25)
    assert torch.allclose(cropped.project(point), torch.stack([(x - 20) / 2, (y - 10) / 2]), atol=1e-4)


@given(angles)
@settings(max_examples=60, deadline=None)
def test_rotations_are_rotations_and_come_back(v):
    R = axis_angle_to_matrix(v)
    assert torch.allclose(R @ R.T, torch.eye(3, dtype=v.dtype), atol=1e-12)
    if v.norm() < math.pi - 0.05:
        assert torch.allclose(matrix_to_axis_angle(R), v, atol=1e-6)


def test_rotation_gradient_is_exact_also_at_zero():
    for v in (torch.zeros(3), torch.tensor([0.3, -1.0, 0.5])):
        assert torch.autograd.gradcheck(axis_angle_to_matrix, v.double().requires_grad_())


def test_skinning_moves_points_with_their_joint():
    points = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]])
    transforms = torch.eye(4).expand(1, 2, 4, 4).clone()
    transforms[0, 1, 0, 3] = 1.0
    moved = linear_blend_skinning(points, torch.tensor([[0, 1], [0, 1]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]), transforms)
    assert torch.allclose(moved, torch.tensor([[[0.0, 1.0, 0.0], [0.5, 2.0, 0.0]]]))


def test_barycentric_of_a_corner_is_the_corner_and_of_batches_too():
    values = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    triangles = torch.tensor([[0, 1, 2], [2, 3, 4]])
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    out = barycentric(values, triangles, weights)
    assert torch.equal(out[:, 0], values[:, 1])
    assert torch.allclose(out[:, 1], values[:, 2] / 4 + values[:, 3] / 4 + values[:, 4] / 2)


def test_normals_of_the_tiny_body_point_outwards():
    body = TinyBody()
    v = body.vertices(body.neutral())[0]
    normals = vertex_normals(v, body.faces)
    owner = body.skinning_indices[:, 0]
    for j in range(len(body.joint_names)):
        part = owner == j
        assert ((v[part] - v[part].mean(0)) * normals[part]).sum(-1).mean() > 0


def test_ssim_equals_scikit_image():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    a = rng.random((40, 52, 3))
    b = np.clip(a + 0.1 * rng.standard_normal(a.shape), 0, 1)
    _, expected = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    ours = ssim_map(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert np.abs(ours - expected.mean(-1))[6:-6, 6:-6].max() < 1e-6
    assert np.allclose(ssim_map(torch.from_numpy(a), torch.from_numpy(b), stride=2).numpy(), ours[::2, ::2])


def test_ssim_gradient_and_shape_errors():
    g = torch.Generator().manual_seed(0)
    a = torch.rand(6, 7, 2, generator=g, dtype=torch.float64, requires_grad=True)
    b = torch.rand(6, 7, 2, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, b, size=5), a)
    with pytest.raises(ValueError, match="two"):
        ssim_map(a, b[:5])


def test_weighted_mean_ignores_what_has_no_weight():
    values = l1(torch.tensor([[[1.0], [9.0]]]), torch.zeros(1, 2, 1))
    assert weighted_mean(values, torch.tensor([[1.0, 0.0]])) == 1.0
    assert weighted_mean(values, torch.zeros(1, 2)) == 0.0


def test_parts_of_a_person_are_known_by_the_beginning_of_a_sets_name() -> None:
    square = np.array([[100.0, 100.0], [200.0, 200.0]], np.float32)
    points = {"pose17": square, "face68": square, "hand5_right": square + 150, "hand5_left": square}
    keypoints = Keypoints(640, 480, points, {name: np.ones(2, np.float32) for name in points})
    assert keypoints.sets("hand") == ("hand5_left", "hand5_right")
    assert keypoints.sets("foot") == ()
    found = windows(keypoints, (0, 0, 640, 480), (640, 480))
    assert {region: len(places) for region, places in found.items()} == {"face": 1, "hands": 2}
    assert found["face"] == [(85, 85, 215, 215)]
    assert [(x, y) for x, y, _, _ in _details(keypoints)] == [(39, 39), (60, 60), (210, 210)]  # the face's has room for hair
    assert not _fleeting([keypoints, None, None, None])
    body = replace(keypoints, points={"pose17": square})
    assert _fleeting([body, None, None, None])


def test_a_region_is_found_in_whatever_set_has_it() -> None:
    face, hand = np.arange(956.0).reshape(478, 2), np.arange(42.0).reshape(21, 2)
    keypoints = Keypoints(9, 9, {"face478": face, "hand21_left": hand, "face_of_mine": face[:5]}, {})
    assert keypoints.region("left_hand") is not None
    assert np.array_equal(keypoints.region("left_hand"), hand)
    assert keypoints.region("right_hand") is None
    assert keypoints.region("no such region") is None
    right, left = (keypoints.region(f"{side}_eye") for side in ("right", "left"))
    assert np.array_equal(right[0], face[33])
    assert np.array_equal(left[0], face[362])


@pytest.mark.parametrize("package", ["appearance", "metrics", "pipeline", "report", "training"])
def test_what_looks_at_photos_knows_no_landmark_set(package: str) -> None:
    core = Path(avatarkit.__file__).parent
    for file in [core / f"{package}.py"] if (core / f"{package}.py").is_file() else (core / package).rglob("*.py"):
        named = [name for name in LAYOUTS if name in file.read_text(encoding="utf-8")]
        assert not named, f"{file.name} names {named}: ask for a region of Keypoints"
