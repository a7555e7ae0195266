"""The hand map on this body: coordinates that run along fingers and palms, and the lines that are drawn by them."""

from __future__ import annotations

import pytest
import torch

from avatarkit.appearance.hand_map import NO_HAND, hand_coordinates, hand_shading

PALM, FINGER = -1.0, 0.6  # coordinates along a finger: of the palm, and between two joints


@pytest.fixture(scope="module")
def coordinates(body):
    return hand_coordinates(body, body.neutral())


def test_every_vertex_of_a_hand_has_coordinates_and_no_other(body, coordinates):
    hands = torch.maximum(body.part("left_hand"), body.part("right_hand")) > 0.5
    assert torch.equal(coordinates[:, 0] > NO_HAND, hands)
    assert coordinates[hands, 0].max() == pytest.approx(3.0) and coordinates[:, 3].abs().max() <= 1.001
    nails = (body.part("nails") > 0.5) & hands
    assert coordinates[nails, 0].min() > 1.9 and coordinates[nails, 3].mean() > 0.8  # at the tips, on the backs
    palm = hands & (coordinates[:, 0] == PALM)
    assert -0.5 < coordinates[palm, 2].min() < 0.2 and 0.8 < coordinates[palm, 2].max() < 1.5


def test_both_hands_have_the_same_coordinates(body, coordinates):
    left = torch.nonzero(body.part("left_hand") > 0.5)[:, 0]
    assert torch.allclose(coordinates[left], coordinates[body.mirror()[0][left]], atol=0.1)  # their triangles differ


def test_a_body_without_fingers_has_no_map():
    from avatarkit.testing import TinyBody

    body = TinyBody()
    at = hand_coordinates(body, body.neutral())
    assert (at[:, 0] == NO_HAND).all() and (hand_shading(at) == 1.0).all()


def _light(along: float, across: float, up: float, facing: float) -> float:
    return float(hand_shading(torch.tensor([[along, across, up, facing, 1.0]])).mean())


def test_the_map_keeps_the_color_of_a_hand(coordinates):
    light = hand_shading(coordinates[coordinates[:, 0] > NO_HAND])
    assert torch.allclose(light.median(0).values, torch.ones(3), atol=0.01)


@pytest.mark.parametrize("joint", [1.0, 2.0])
def test_fingers_fold_at_their_joints(joint):
    assert _light(joint, 0.5, 1.2, -1.0) < 0.9 * _light(joint - 0.4, 0.5, 1.2, -1.0)
    assert _light(joint, 0.5, 1.2, 1.0) < 0.97 * _light(joint - 0.4, 0.5, 1.2, 1.0)


def test_sides_are_darker_and_palms_pinker_than_backs():
    assert _light(FINGER, 0.5, 1.2, 0.0) < 0.8 * _light(FINGER, 0.5, 1.2, 1.0)
    palm, back = hand_shading(torch.tensor([[PALM, 0.5, 0.1, -1.0, 1.0], [PALM, 0.5, 0.1, 1.0, 1.0]]))
    assert palm[0] / palm[1] > back[0] / back[1]


def test_a_palm_has_three_lines():
    up = torch.linspace(0.15, 1.0, 400)
    others = torch.tensor([PALM, 0.4, 0.0, -1.0, 1.0]).expand(400, 5).clone()
    others[:, 2] = up
    light = hand_shading(others)
    dark = light.mean(1) < 0.9 * light.mean(1).median()
    assert int((dark[1:] & ~dark[:-1]).sum()) == 3
