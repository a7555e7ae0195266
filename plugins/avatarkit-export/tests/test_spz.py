"""The SPZ file, read by a library that is not ours."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import gsply
import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, Context, Posed, Subject
from avatarkit.registry import Registry
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import SH0, Gaussians


def test_a_reader_of_others_finds_the_same_gaussians_and_they_draw_the_same_picture(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.spz"
    registry.get("exporter", "spz").create({}, context).write(avatar, params, path, consent="Ada said\nyes — twice")
    row = gsply.read_spz(path)
    ours = avatar.pose(params).gaussians
    got = Gaussians(
        torch.tensor(row.means),
        torch.tensor(row.scales[:, 0]).exp(),
        0.5 + SH0 * torch.tensor(row.sh0),
        torch.tensor(row.opacities).reshape(-1).sigmoid(),
    )
    assert (got.means - ours.means).abs().max() < 1e-5
    assert ((got.scales / ours.scales).log().abs() <= 1 / 32 + 1e-4).all()
    assert (row.scales[:, :1] == row.scales).all()
    assert (got.colors - ours.colors).abs().max() < 0.004
    assert (got.opacities - ours.opacities).abs().max() < 0.004
    draw = context.get("renderer").gaussians.render
    with torch.no_grad():
        a, b = (draw(g, subject.camera, torch.ones(3)).rgb for g in (ours, got))
    assert (a < 0.9).any()  # somebody is in the picture
    assert -10 * (a - b).square().mean().log10() >= 35
    data = path.read_bytes()
    assert b"synthetic, made with avatarkit; consent: Ada said yes \\u2014 twice\0" in data[:200]
    assert gzip.decompress(data)[:8] == b"NGSP\2\0\0\0"


def test_ellipsoids_and_harmonics_come_back(
    registry: Registry, context: Context, subject: Subject, rich: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    registry.get("exporter", "spz").create({}, context).write(rich, params, tmp_path / "rich.spz")
    row = gsply.read_spz(tmp_path / "rich.spz")
    ours = rich.pose(params).gaussians.map(torch.Tensor.detach)
    quats = torch.nn.functional.normalize(torch.tensor(row.quats), dim=-1)
    assert ((quats * ours.rotations).sum(-1).abs() > 0.995).all()
    assert ((torch.tensor(row.scales) - ours.scales.log()).abs() <= 1 / 32 + 1e-4).all()
    sh = torch.tensor(row.shN).reshape(ours.sh.shape)
    assert (sh - ours.sh).abs().max() <= 0.5 / 128 + 1e-4
    again = Gaussians(
        torch.tensor(row.means), torch.tensor(row.scales).exp(), 0.5 + SH0 * torch.tensor(row.sh0),
        torch.tensor(row.opacities).reshape(-1).sigmoid(), quats, sh,
    )  # fmt: skip
    draw = context.get("renderer").gaussians.render
    a, b = (draw(g, subject.camera, torch.ones(3)).rgb for g in (ours, again))
    assert -10 * (a - b).square().mean().log10() >= 35


def test_harmonics_beyond_the_format_are_told_once(
    registry: Registry, context: Context, rich: AvatarModel, params: BodyParams, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spz = registry.get("exporter", "spz").create({}, context)
    spz.write(rich, params, tmp_path / "a.spz")
    assert not caplog.messages

    class Vivid:
        @staticmethod
        def pose(params: BodyParams) -> Posed:
            posed = rich.pose(params)
            sh = posed.gaussians.sh.detach().clone()
            sh[0, :2], sh[1, 3] = 1.5, torch.tensor([0.5, 1.0, -1.01])
            return replace(posed, gaussians=replace(posed.gaussians, sh=sh))

    spz.write(Vivid(), params, tmp_path / "b.spz")
    count = rich.pose(params).gaussians.sh.numel()
    assert caplog.messages == [f"SPZ holds spherical harmonics from -1 to 1: 7 of {count} values were cut there."]


def test_an_avatar_far_away_is_refused(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    far = replace(params, translation=torch.tensor([0.0, 0.0, -200.0]))
    with pytest.raises(InputError, match="more than 127 m from the origin"):
        registry.get("exporter", "spz").create({}, context).write(avatar, far, tmp_path / "a.spz")
    assert not list(tmp_path.iterdir())
