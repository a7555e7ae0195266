"""Figures of motion on pictures whose faults are known, and on a whole avatar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit import load
from avatarkit.interfaces import Posed
from avatarkit.testing import memory_registry, tiny_build
from avatarkit.testing.motion_faults import frame_faults, motion_faults
from avatarkit.types.gaussians import Gaussians

FAR = 5


@pytest.fixture
def person() -> tuple[np.ndarray, np.ndarray]:
    """Opacity and mesh of a block of 40 x 20 = 800 pixels that stands free."""
    mesh = np.zeros((80, 60), bool)
    mesh[20:60, 20:40] = True
    return mesh.astype(np.float32), mesh


def test_a_person_without_faults(person: tuple[np.ndarray, np.ndarray]) -> None:
    found = frame_faults(*person, FAR)
    assert (found.detached, found.stray, found.holes) == (0, 0, 0)


def test_a_part_that_floats_is_detached_and_stray_only_where_it_is_far(person: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, mesh = person
    alpha[30:34, 42:44] = 1  # 8 pixels, within 5 of the mesh
    near = frame_faults(alpha, mesh, FAR)
    assert near.detached == pytest.approx(8 / 808) and near.stray == 0 and near.holes == 0
    alpha[30:34, 42:44] = 0
    alpha[30:34, 50:52] = 1
    away = frame_faults(alpha, mesh, FAR)
    assert away.detached == away.stray == pytest.approx(8 / 808)


def test_a_streak_that_hangs_on_the_person_is_stray_and_not_detached(person: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, mesh = person
    alpha[40, 40:50] = 1  # ten pixels long, five of them beyond the margin
    found = frame_faults(alpha, mesh, FAR)
    assert found.stray == pytest.approx(5 / 810) and found.detached == 0
    alpha[40, 45:50] = 0.39  # too faint to see
    assert frame_faults(alpha, mesh, FAR).stray == 0


def test_a_hole_counts_inside_the_outline_only(person: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, mesh = person
    alpha[30:33, 30:33] = 0.85  # nine pixels that let the background through
    alpha[20:22, 20:40] = 0.5  # the antialiased outline
    assert frame_faults(alpha, mesh, FAR).holes == pytest.approx(9 / 800)


def test_a_part_of_the_person_at_the_pictures_edge_is_cut_and_not_detached(person: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, mesh = person
    alpha[70:80, 20:30] = 1  # a hand that reaches into the picture from below
    assert frame_faults(alpha, mesh, FAR).detached == 0


def test_no_person_at_all_is_one_large_hole(person: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, mesh = person
    found = frame_faults(0 * alpha, mesh, FAR)
    assert found.holes == 36 * 16 and found.detached == found.stray == 0


class _Torn:
    """An avatar of which some Gaussians stay behind when an arm moves."""

    def __init__(self, model, still, count):
        self.model, self.still, self.count = model, still, count

    def pose(self, params) -> Posed:
        posed = self.model.pose(params)
        moved = not torch.equal(params.joints, self.still.joints)
        g = posed.gaussians
        means = g.means.clone()
        if moved:
            means[: self.count] = torch.tensor([-0.7, 0.9, 0.0]) + self.still.translation
        return replace(posed, gaussians=Gaussians(means, g.scales, g.colors, g.opacities))


def test_an_avatar_in_motion(tmp_path: Path) -> None:
    avatar = load(tiny_build(tmp_path), memory_registry())
    how = {"motions": ("tiny", "unknown"), "frames": 2, "yaws": (15.0,), "height": 64}
    sound = motion_faults(avatar, **how)
    assert sound.pictures == 3 and sound.largest.detached == 0
    torn = motion_faults(replace(avatar, model=_Torn(avatar.model, avatar.photo_params, 6)), **how)
    assert torn.mean.detached > sound.mean.detached and torn.largest.stray > sound.largest.stray
    assert torn.worst.startswith("tiny@") and torn.percent()["detached_max"] == 100 * torn.largest.detached
    with pytest.raises(ValueError, match="needs a motion"):
        motion_faults(avatar, motions=("unknown",), yaws=())
