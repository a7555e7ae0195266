"""Stick figures and face boxes by the authors' rules."""

from __future__ import annotations

import numpy as np
import pytest

from avatarkit.labelling.pose_maps import COLORS, draw_poses
from avatarkit_wan.style import STYLE, face_box


def draw(points, scores, height, width):
    return draw_poses(points[None], scores[None], height, width, STYLE)


@pytest.fixture
def person():
    """(133, 2) points on a grid that no two share, all seen."""
    points = np.stack([20 + 20.0 * (np.arange(133) % 30), 100 + 80.0 * (np.arange(133) // 30)], 1)
    return points, np.ones(133)


def _only(scores, *numbers):
    chosen = np.zeros_like(scores)
    chosen[list(numbers)] = 1
    return chosen


def test_limbs_are_dimmed_and_joints_are_not(person):
    points, scores = person
    points[5], points[7] = (100, 100), (300, 100)  # left shoulder and elbow
    picture = draw(points, _only(scores, 5, 7), 720, 1280)
    assert picture.shape == (720, 1280, 3)
    assert picture[100, 200].tolist() == [int(c * 0.6) for c in COLORS[4]]  # the fifth limb
    assert picture[100, 100].tolist() == list(COLORS[5])
    assert picture[100, 300].tolist() == list(COLORS[6])
    column = np.flatnonzero(picture[:, 200].any(-1))
    assert (column.min(), column.max()) == (98, 102)  # 720 // 200 - 1 pixels to either side


def test_points_below_the_threshold_or_unknown_are_left_out(person):
    points, scores = person
    assert not draw(points, np.full(133, 0.49), 720, 1280).any()
    points[:] = np.nan
    assert not draw(points, scores, 720, 1280).any()


def test_toes_are_the_middle_of_two_points(person):
    points, scores = person
    points[15], points[17], points[18] = (400, 300), (500, 380), (500, 420)
    picture = draw(points, _only(scores, 15, 17, 18), 720, 1280)
    assert picture[400, 500].tolist() == list(COLORS[18])
    assert draw(points, _only(scores, 15, 17), 720, 1280)[400, 500].tolist() == list(COLORS[18])  # 0.5 counts
    assert not draw(points, 0.9 * _only(scores, 15, 17), 720, 1280)[400, 500].any()


def test_the_face_is_not_drawn_and_hands_are(person):
    points, scores = person
    assert not draw(points, _only(scores, *range(23, 91)), 720, 1280).any()
    points[91:112] = np.stack([np.linspace(300, 500, 21), np.full(21, 200)], 1)
    picture = draw(points, _only(scores, *range(91, 112)), 720, 1280)
    assert picture[200, 300].tolist() == [0, 0, 255]
    assert picture[200, 303].any()


def test_points_far_outside_do_not_disturb(person):
    points, scores = person
    points[5] = (1e9, -1e9)
    assert draw(points, scores, 64, 64).shape == (64, 64, 3)


def test_the_face_box_grows_upwards_and_stays_inside():
    face = np.array([[100.0, 100], [200, 100], [200, 200], [100, 200]])
    grow = np.sqrt(1.3) - 1
    x0, y0, x1, y1 = face_box(face, 500, 500)
    assert (x0, x1) == (int(100 - 50 * grow), int(200 + 50 * grow))
    assert (y0, y1) == (int(100 - 75 * grow), int(200 + 25 * grow))
    assert (x1 - x0) * (y1 - y0) == pytest.approx(1.3 * 100 * 100, rel=0.02)
    assert face_box(face - 99, 500, 500)[:2] == (0, 0)
    assert face_box(np.full((68, 2), np.nan), 500, 500) is None
    assert face_box(face + 1000, 500, 500) is None
