"""How the camera goes along with somebody."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarkit.animation import follow, place
from avatarkit.errors import InputError
from avatarkit.pipeline.manifest import without_folders
from avatarkit.testing import TinyBody
from avatarkit.types.body import BodyParams, Motion


def _path(T: int, **axes: torch.Tensor) -> torch.Tensor:
    moved = torch.zeros(T, 3)
    for k, axis in enumerate("xyz"):
        moved[:, k] = axes.get(axis, torch.zeros(T))
    return moved


def test_sway_and_hops_leave_the_camera_alone() -> None:
    t = torch.arange(120) / 30
    assert not follow(_path(120, x=0.06 * torch.sin(3 * t), z=0.04 * torch.cos(2 * t)), 30).any()
    hop = 0.15 * torch.exp(-(((t - 2) / 0.1) ** 2))
    assert not follow(_path(120, y=hop), 30).any()


def test_somebody_who_walks_away_stays_within_a_hand_of_the_middle() -> None:
    t = torch.arange(300) / 30
    t = t**2 / (t + 0.5)  # sets off gently
    moved = _path(300, x=0.9 * t, y=0.03 * torch.sin(12 * t), z=-0.4 * t)
    left = moved - follow(moved, 30)
    assert left.norm(dim=-1).max() < 0.25
    assert (follow(moved, 30).diff(dim=0).diff(dim=0).norm(dim=-1) * 900).max() < 4  # smooth: m/s^2


def test_one_frame_is_fine() -> None:
    assert follow(torch.tensor([[2.0, 0, 0]]), 30).shape == (1, 3)


def test_an_avatar_holds_no_path_of_its_makers_disk(tmp_path) -> None:
    recipe = {"motions": {"use": "ted", "path": str(tmp_path / "ted")}, "a": [str(tmp_path), 3], "b": {"c": "and/or"}}
    kept = without_folders(recipe)
    assert str(tmp_path) not in str(kept)
    assert kept == {"motions": {"use": "ted", "path": "ted"}, "a": [tmp_path.name, 3], "b": {"c": "and/or"}}


BODY = TinyBody()
LEGS = [BODY.joint_names.index(f"{side}_hip") for side in ("left", "right")]
SPINE, ARM = BODY.joint_names.index("spine1"), BODY.joint_names.index("left_shoulder")


def _seated() -> BodyParams:
    """A person who sits and leans, turned to the side."""
    joints = torch.zeros(len(BODY.joint_names), 3)
    joints[LEGS, 0] = -1.5
    joints[SPINE, 0] = 0.3
    root, translation = torch.tensor([0.0, 0.4, 0.0]), torch.tensor([0.1, 0.5, -2.0])
    return replace(BODY.neutral(), joints=joints, root=root, translation=translation)


def _walk(moves: frozenset[str]) -> Motion:
    joints = torch.zeros(4, len(BODY.joint_names), 3)
    joints[:, LEGS[0], 0], joints[:, LEGS[1], 0] = torch.linspace(-0.4, 0.4, 4), torch.linspace(0.4, -0.4, 4)
    joints[:, SPINE, 1], joints[:, ARM, 2] = 0.1, -0.5
    zero = torch.zeros(4, 3)
    path = torch.linspace(0, 1, 4)[:, None] * torch.tensor([0.0, 0, 1])
    params = replace(BODY.neutral(), joints=joints, root=zero, translation=path, expression=torch.zeros(4, 2))
    return Motion("walk", 30.0, params, moves=moves)


def test_what_a_file_moves_is_posed_as_the_file_says_whatever_the_photo_shows() -> None:
    motion, person = _walk(frozenset({"legs", "trunk", "head"})), _seated()
    world = place(motion, person, BODY)
    torch.testing.assert_close(world.joints, motion.params.joints)
    torch.testing.assert_close(world.root, motion.params.root)
    torch.testing.assert_close(world.translation, motion.params.translation + person.translation)


def test_what_a_motion_does_not_move_keeps_the_bearing_of_the_photo() -> None:
    motion, person = _walk(frozenset({"trunk"})), _seated()
    world = place(motion, person, BODY)
    torch.testing.assert_close(world.joints[:, SPINE], motion.params.joints[:, SPINE])
    assert (world.joints[:, LEGS, 0] < -1).all()  # the legs of a clip that shows none stay seated
    builtin = place(_walk(frozenset()), person, BODY)
    torch.testing.assert_close(builtin.root, person.root.expand(4, 3))
    assert (builtin.joints[:, SPINE, 0] > 0.2).all()
    torch.testing.assert_close(builtin.joints[:, ARM], motion.params.joints[:, ARM])


@pytest.mark.parametrize("moves", [frozenset(), frozenset({"legs", "trunk", "head"})])
def test_a_part_of_the_photo_is_kept(moves: frozenset[str]) -> None:
    motion, person = _walk(moves), _seated()
    legs, trunk, none = (place(motion, person, BODY, keep) for keep in ("legs", "trunk", "none"))
    for world in (legs, trunk):
        torch.testing.assert_close(world.joints[:, LEGS], person.joints[LEGS].expand(4, 2, 3))
        torch.testing.assert_close(world.root, person.root.expand(4, 3))
        torch.testing.assert_close(world.translation, person.translation.expand(4, 3))
        torch.testing.assert_close(world.joints[:, ARM], motion.params.joints[:, ARM])
    torch.testing.assert_close(trunk.joints[:, SPINE], person.joints[SPINE].expand(4, 3))
    assert not torch.equal(legs.joints[:, SPINE], trunk.joints[:, SPINE])
    torch.testing.assert_close(none.joints, motion.params.joints)
    with pytest.raises(InputError, match="'arms' cannot be kept: use legs, trunk or none"):
        place(motion, person, BODY, "arms")
