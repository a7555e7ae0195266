"""Poses of the default body model, drawn: looks at the real landmark tables, not at stand-ins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarkit.errors import AvatarkitError
from avatarkit.interfaces import Context
from avatarkit.labelling.pose_maps import draw_poses
from avatarkit.labelling.poses import observe
from avatarkit.registry import Registry
from avatarkit.types.camera import front_camera
from avatarkit_mimicmotion.alignment import STYLE


@pytest.fixture(scope="module")
def body():
    try:
        return Registry.load().get("body", "anny").create({}, Context())
    except AvatarkitError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_a_standing_person(body):
    camera = front_camera(288, 512)
    neutral = body.neutral()
    params = replace(neutral, translation=torch.tensor([0.0, 0.0, -2.8])).batched()
    points, scores = observe(body, params, camera)
    x, y = points[0].T
    assert np.isfinite(points[0, :17]).all()
    assert np.isfinite(points[0, 23:]).all()
    for left, right in ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
        assert x[left] > x[right]
        assert abs(y[left] - y[right]) < 4
    assert (np.diff(y[[1, 5, 11, 13, 15]]) > 10).all()  # eye, shoulder, hip, knee, ankle: downwards
    jaw, mouth, eyes = points[0, 23:40], points[0, 71:91], points[0, 59:71]
    assert jaw[8, 1] == jaw[:, 1].max()  # the chin
    assert (np.diff(jaw[1:-1, 0]) > 0).all()  # from the right ear to the left one
    assert eyes[:, 1].max() < mouth[:, 1].min() < jaw[8, 1]
    for wrist, hand in ((9, 91), (10, 112)):
        assert np.linalg.norm(points[0, wrist] - points[0, hand]) < 8
        fingers = np.linalg.norm(points[0, [hand + 8, hand + 12]] - points[0, hand], axis=-1)
        assert (fingers > 8).all()
    assert (scores[0, :17] > 0.3).all()
    picture = draw_poses(points, scores, 512, 288, STYLE)
    rows = np.flatnonzero(picture.any((1, 2)))
    assert rows[0] < y[1]
    assert rows[-1] > y[15] - 3
