"""Motions and cameras as files, and tracking as a tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarkit.body import Motion
from avatarkit.camera import front_camera, orbit
from avatarkit.cameras import read_camera, write_camera
from avatarkit.errors import InputError
from avatarkit.motion_files import find_motion, read_motion, write_motion
from avatarkit.testing import TinyBody, tiny_context, tiny_motion
from avatarkit.tracking import relative

BODY = TinyBody()


def test_a_motion_comes_back(tmp_path: Path) -> None:
    motion = tiny_motion()
    motion = replace(motion, loop=True, valid=torch.arange(len(motion)) != 1)
    write_motion(tmp_path / "a.npz", motion, BODY)
    back = read_motion(tmp_path / "a.npz", BODY)
    assert (back.name, back.fps, back.loop) == (motion.name, motion.fps, True)
    assert back.valid is not None
    assert torch.equal(back.valid, motion.valid)
    for name in ("shape", "expression", "root", "translation", "joints"):
        assert torch.equal(getattr(back.params, name), getattr(motion.params, name))


def test_a_motion_keeps_its_name_whatever_its_suffix(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.motion", tiny_motion(), BODY)
    assert [p.name for p in tmp_path.iterdir()] == ["a.motion"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": np.array("else")}, "is not a motion file"),
        ({"format_version": np.array(99)}, "newer avatarkit"),
        ({"model": np.array("giant")}, "of the body model 'giant', and 'tiny' is asked for"),
        ({"root": np.zeros((2, 3))}, "is damaged"),
        ({"joints": np.full((4, 9, 3), np.nan)}, "is damaged"),
        ({"fps": np.array(0.0)}, "is damaged"),
        ({"joints": np.array([{"an": "object"}])}, "is not a motion file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.npz"
    write_motion(path, tiny_motion(), BODY)
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    assert data["joints"].shape == (4, 9, 3)
    np.savez(path, **{**data, **change})
    with pytest.raises(InputError, match=message):
        read_motion(path, BODY)


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("a.npz", "empty.npz"):
        with pytest.raises(InputError, match="is not a motion file"):
            read_motion(tmp_path / name, BODY)
    with pytest.raises(InputError, match="There is no motion file"):
        read_motion(tmp_path / "none.npz", BODY)


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
    write_motion(tmp_path / "mine.npz", replace(tiny_motion(), name="mine"), BODY)
    np.savez(tmp_path / "theirs.npz", poses=np.zeros(3))
    assert find_motion("wave", context).name == "tiny"
    assert find_motion(str(tmp_path / "mine.npz"), context).name == "mine"
    with pytest.raises(InputError, match=r"the source was asked for .*theirs\.npz"):
        find_motion(str(tmp_path / "theirs.npz"), context)
    with pytest.raises(InputError, match="the source was asked for dance"):
        find_motion("dance", context)
    with pytest.raises(InputError, match="There is no motion file"):
        find_motion(str(tmp_path / "none.npz"), context)


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
