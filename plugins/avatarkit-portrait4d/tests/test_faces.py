"""Crops, landmarks and numbers equal those of the original preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.types.camera import front_camera
from avatarkit_portrait4d.faces import align, crop_camera, five_points, parameters

WFLW = [96, 97, 54, 76, 82]  # pupils, tip of the nose, corners of the mouth among 98 points


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "preprocess.npz") as data:
        return dict(data)


def test_crops_and_landmarks(golden):
    image = golden["image"]
    crop = align(image, golden["lmk98"][WFLW])
    assert crop.scale == pytest.approx(golden["trans_params"][2], abs=1e-6)
    np.testing.assert_allclose(crop.landmarks(golden["lmk98"], len(image)), golden["lmk98_crop"], atol=1e-3)
    np.testing.assert_allclose(crop.landmarks(golden["lmk68"][:, :2], len(image)), golden["lmk68_crop"], atol=1e-3)
    assert np.abs(crop.image[::8, ::8].astype(int) - golden["crop_at_8"]).max() <= 1


def test_numbers(golden):
    for neck, wanted in zip(golden["flame_neck_rotvec"], golden["flame_vector437_no_identity"], strict=True):
        vector = parameters(neck)
        assert vector.shape == (437,)
        assert vector.dtype == np.float32
        np.testing.assert_allclose(np.concatenate([vector[:25], vector[425:]])[: len(wanted)], wanted[:37], atol=1e-5)
        assert not vector[25:425].any()


def test_the_crops_camera_sees_what_the_crop_shows(golden):
    image = golden["image"]
    crop, camera = align(image, golden["lmk98"][WFLW]), front_camera(image.shape[1], image.shape[0])
    world = torch.tensor([[0.1, 0.2, -3.0], [-0.3, 0.0, -2.0]])
    seen = np.concatenate([camera.project(world).numpy(), np.ones((2, 1))], 1) @ crop.to_crop.T
    np.testing.assert_allclose(crop_camera(camera, crop).project(world).numpy(), seen[:, :2], atol=1e-2)


def test_five_points_of_68():
    face = np.arange(136, dtype=float).reshape(68, 2)
    points = five_points(face)
    assert points.shape == (5, 2)
    assert points[0].tolist() == face[36:42].mean(0).tolist()
    assert points[2:].tolist() == face[[30, 48, 54]].tolist()
    assert five_points(face, np.zeros((2, 2)))[:2].tolist() == [[0, 0], [0, 0]]


def test_what_is_no_face_is_refused():
    image = np.zeros((100, 100, 3), np.uint8)
    for points in (np.full((5, 2), 3.0), np.full((5, 2), np.nan)):
        with pytest.raises(InputError):
            align(image, points)
