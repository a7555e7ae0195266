"""A mask loses what looks like the background beside it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from avatarkit_mediapipe.local_colors import corrected

WALL, SHIRT, SKIN = (0.9, 0.85, 0.7), (0.2, 0.3, 0.5), (0.8, 0.6, 0.5)
HEAD = 40.0


@pytest.fixture
def person():
    """A person in a shirt before a wall: the image (200, 200, 3), its true mask, and what landmarks are sure of."""
    image = np.full((200, 200, 3), WALL, np.float32)
    image += np.random.default_rng(0).normal(0, 0.01, image.shape).astype(np.float32)
    true = np.zeros((200, 200), np.float32)
    true[60:, 60:140] = 1
    image[60:, 60:140] = SHIRT
    true[20:60, 85:115] = 1
    image[20:60, 85:115] = SKIN
    sure = np.zeros(true.shape, bool)
    sure[30:50, 95:105] = sure[90:190, 80:120] = True
    return image.clip(0, 1), true, sure


def test_a_wall_beside_the_person_is_taken_out(person):
    image, true, sure = person
    mask = true.copy()
    mask[120:160, 140:165] = 0.9
    found = corrected(image, mask, sure, HEAD, (100, 40))
    assert found[125:155, 145:160].max() < 0.2
    assert np.abs(found - true)[true > 0].max() < 0.3


def test_a_badge_in_the_color_of_the_wall_stays(person):
    image, true, sure = person
    image[80:88, 125:135] = WALL
    assert corrected(image, true, sure, HEAD, (100, 40))[82:86, 127:133].min() > 0.9


def test_what_looks_like_the_shirt_is_not_added(person):
    image, true, sure = person
    image[100:150, 142:170] = SHIRT
    mask = true.copy()
    mask[100:150, 142:170] = 0.3
    assert corrected(image, mask, sure, HEAD, (100, 40))[110:140, 146:165].max() < 0.35


def test_the_mask_stands_around_the_head(person):
    image, true, sure = person
    mask = true.copy()
    mask[25:45, 75:85] = 0.8  # hair as pale as the wall
    found = corrected(image, mask, sure, HEAD, (100, 40))
    assert np.abs(found - mask)[27:43, 77:83].max() < 0.1


def test_a_mask_of_everything_is_left_alone(person):
    image, true, sure = person
    assert np.array_equal(corrected(image, np.ones_like(true), sure, HEAD, None), np.ones_like(true))
