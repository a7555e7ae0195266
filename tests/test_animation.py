"""How the camera goes along with somebody."""

from __future__ import annotations

import torch

from avatarkit.animation import follow
from avatarkit.pipeline.build import _without_folders


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
    kept = _without_folders(recipe)
    assert str(tmp_path) not in str(kept)
    assert kept == {"motions": {"use": "ted", "path": "ted"}, "a": [tmp_path.name, 3], "b": {"c": "and/or"}}
