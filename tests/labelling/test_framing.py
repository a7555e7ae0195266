"""The window that a generator is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatarkit.labelling.framing import crop, person_window
from avatarkit.types.camera import front_camera

sides = st.integers(100, 3000)
shares = st.floats(0, 1)


@given(sides, sides, shares, shares, shares, shares)
def test_the_whole_person_is_in_the_window(height, width, a, b, c, d):
    x0, x1 = sorted((a * width, b * width))
    y0, y1 = sorted((c * height, d * height))
    x1, y1 = max(x1, x0 + 10), max(y1, y0 + 10)
    window = person_window(height, width, (x0, y0, x1, y1), (576, 1024))
    corners = window.points(np.array([[x0, y0], [min(x1, width), min(y1, height)]]))
    assert (corners >= -1e-6).all()
    assert (corners <= np.array([window.width, window.height]) + 1e-6).all()
    assert sorted((window.width, window.height)) == [576, 1024]


def test_camera_and_points_follow_the_window():
    photo_camera = front_camera(500, 700)
    window = person_window(700, 500, (100, 50, 400, 690), (576, 1024))
    world = torch.tensor([[0.3, 0.5, -3.0], [-0.2, -0.9, -2.5]])
    expected = window.points(photo_camera.project(world).numpy())
    np.testing.assert_allclose(window.camera(photo_camera).project(world).numpy(), expected, atol=1e-2)


def test_upright_only_where_it_gains_something():
    full_body = person_window(1000, 1000, (400, 50, 600, 950), (576, 1024))
    half_body = person_window(512, 512, (60, 20, 480, 512), (576, 1024))
    assert (full_body.width, full_body.height) == (576, 1024)
    assert (half_body.width, half_body.height) == (1024, 576)
    assert half_body.top == pytest.approx(0)


def test_a_body_that_the_photo_cuts_off_does_not_go_on_below_it():
    window = person_window(400, 300, (100, 10, 200, 400), (576, 1024))
    assert (window.top + window.height) * window.step_y == pytest.approx(400)


def test_a_window_shows_the_right_part_and_goes_on_softly_outside():
    stripes = torch.zeros(300, 600, 3)
    stripes[:, ::20] = 1.0
    stripes[100:200, 250:350] = 0.5
    window = person_window(300, 600, (250, 100, 350, 200), (64, 64))
    picture = crop(stripes, window)
    assert picture.shape == (window.height, window.width, 3)
    x, y = window.points(np.array([300.0, 150.0])).astype(int)
    assert abs(int(picture[y, x, 0]) - 128) <= 1
    above = replace(window, top=-200.0, height=256)
    tall = crop(stripes, above).float()
    inside, outside = tall[210, :, 0].std(), tall[20, :, 0].std()
    assert inside > 20
    assert outside < inside / 4
    assert abs(tall[20].mean() - tall[205].mean()) < 6
