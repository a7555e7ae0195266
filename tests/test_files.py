"""Motions and cameras as files, and tracking as a tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.io.camera_json import read_camera, write_camera
from avatarkit.motion.files import find_motion, save_motion
from avatarkit.testing import TinyBody, tiny_context, tiny_motion
from avatarkit.tracking import _crowded, _fleeting, relative
from avatarkit.types.body import Motion
from avatarkit.types.camera import front_camera, orbit
from avatarkit.types.keypoints import Keypoints

BODY = TinyBody()


class _Source:
    """A motion source that knows one motion, and says which others it was asked for."""

    def names(self) -> tuple[str, ...]:
        return ("wave",)

    def motion(self, name: str) -> Motion:
        if name != "wave":
            raise InputError(f"the source was asked for {name}")
        return tiny_motion()


def test_a_motion_is_found_by_name_or_as_a_file(tmp_path: Path) -> None:
    context = tiny_context(motions=_Source())
    save_motion(replace(tiny_motion(), name="mine"), BODY, tmp_path / "mine.npz")
    assert find_motion("wave", context.get).name == "tiny"
    assert find_motion(str(tmp_path / "mine.npz"), context.get).name == "mine"
    with pytest.raises(InputError, match="the source was asked for dance"):
        find_motion("dance", context.get)
    with pytest.raises(InputError, match="There is no motion file"):
        find_motion(str(tmp_path / "none.npz"), context.get)


def test_a_world_motion_becomes_relative_to_where_the_person_was_first_seen() -> None:
    motion = tiny_motion()
    world = replace(
        motion,
        params=replace(motion.params, translation=motion.params.translation + torch.tensor([1.0, 2.0, -3.0])),
        valid=torch.tensor([False, True, True, True]),
    )
    moved = relative(world).params.translation
    assert torch.allclose(moved[1], torch.zeros(3))
    expected = motion.params.translation - motion.params.translation[1]
    assert torch.allclose(moved, expected, atol=1e-6)


def test_a_camera_comes_back(tmp_path: Path) -> None:
    camera = orbit(front_camera(64, 48), torch.tensor([0.0, 0.0, -3.0]), yaw=20.0, pitch=5.0)
    write_camera(tmp_path / "c.json", camera)
    back = read_camera(tmp_path / "c.json")
    assert torch.allclose(back.K, camera.K)
    assert torch.allclose(back.T_camera_world, camera.T_camera_world)
    assert (back.width, back.height) == (64, 48)


EYE = "[[1,0,0],[0,1,0],[0,0,1]]"
POSE = "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        f'{{"K": [[1]], "T_camera_world": {POSE}, "width": 64, "height": 64}}',
        f'{{"K": "x", "T_camera_world": {POSE}, "width": 64, "height": 64}}',
        f'{{"K": {EYE}, "T_camera_world": {POSE}, "width": 1, "height": 64}}',
        f'{{"K": {EYE.replace("1", "NaN")}, "T_camera_world": {POSE}, "width": 64, "height": 64}}',
    ],
)
def test_what_is_no_camera_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="is no camera file"):
        read_camera(tmp_path / "c.json")


def test_a_body_without_a_face_that_flashes_up_is_nobody():
    def seen(*names):
        points = {name: np.zeros((2, 2), np.float32) for name in names}
        return Keypoints(8, 8, points, {name: np.ones(2, np.float32) for name in names})

    nobody = [None] * 9
    assert _fleeting([*nobody, seen("pose33")])
    assert _fleeting([*nobody * 2, seen("pose33"), seen("pose33"), seen("pose33", "face478")])
    assert not _fleeting([*nobody, seen("pose33", "face478")])
    assert not _fleeting([seen("pose33")] * 6 + nobody)


def test_several_people_in_a_video_are_said_unless_a_detector_slipped():
    one = Keypoints(8, 8, {}, {})
    two = replace(one, person_count=2)
    assert _crowded([None, one, two, two])
    assert not _crowded([None, one, one, one, two])
    assert not _crowded([None])
