"""The PLY file, read by a library that is not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gsply
import numpy as np
import pytest
import torch
import trimesh

from avatarkit.errors import ConfigError, InputError, StoreError
from avatarkit.interfaces import AvatarModel, Context, Subject
from avatarkit.registry import Registry
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import SH0, Gaussians


def plyfile(path: Path) -> np.ndarray:
    return trimesh.load(path, process=False).metadata["_ply_raw"]["vertex"]["data"]


def test_a_reader_of_others_finds_the_same_gaussians_and_they_draw_the_same_picture(
    registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "tiny.ply"
    registry.get("exporter", "ply").create({}, context).write(avatar, params, path, consent="Ada said\nyes — twice")
    row = plyfile(path)
    ours = avatar.pose(params).gaussians
    got = {n: torch.from_numpy(np.array(row[n], dtype=np.float32).reshape(len(ours))) for n in row.dtype.names}
    assert torch.equal(torch.stack([got[k] for k in "xyz"], 1), ours.means.detach())
    assert (got["rot_0"] == 1).all() and all((got[f"rot_{k}"] == 0).all() for k in (1, 2, 3))
    assert torch.equal(got["scale_0"], got["scale_1"]) and torch.equal(got["scale_0"], got["scale_2"])
    assert torch.allclose(got["scale_0"].exp(), ours.scales.detach(), rtol=1e-5)
    assert torch.allclose(got["opacity"].sigmoid(), ours.opacities, atol=1e-5)
    assert got["opacity"].isfinite().all()
    colors = 0.5 + SH0 * torch.stack([got[f"f_dc_{k}"] for k in range(3)], 1)
    means = torch.stack([got[k] for k in "xyz"], 1)
    reread = Gaussians(means, got["scale_0"].exp(), colors, got["opacity"].sigmoid())
    draw = context.get("renderer").gaussians.render
    with torch.no_grad():
        a, b = (draw(g, subject.camera, torch.ones(3)).rgb for g in (ours, reread))
    assert (a < 0.9).any()  # somebody is in the picture
    assert -10 * (a - b).square().mean().clamp(min=1e-12).log10() >= 35
    header = path.read_bytes().split(b"end_header")[0].decode("ascii")
    assert "comment synthetic, made with avatarkit; consent: Ada said yes \\u2014 twice\n" in header
    assert [p.name for p in path.parent.iterdir()] == ["tiny.ply"]


def test_ellipsoids_and_harmonics_come_back_and_draw_the_same_picture(
    registry: Registry, context: Context, subject: Subject, rich: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    registry.get("exporter", "ply").create({}, context).write(rich, params, tmp_path / "rich.ply")
    read = gsply.plyread(tmp_path / "rich.ply")
    ours = rich.pose(params).gaussians.map(torch.Tensor.detach)
    means, sh0, opacities = (torch.tensor(t) for t in (read.means, read.sh0, read.opacities))
    again = Gaussians(
        means, torch.tensor(read.scales).exp(), 0.5 + SH0 * sh0, opacities.reshape(-1).sigmoid(), torch.tensor(read.quats),
        torch.tensor(read.shN).reshape(len(means), 15, 3),
    )  # fmt: skip
    for name in ("scales", "rotations", "sh", "colors"):
        torch.testing.assert_close(getattr(again, name), getattr(ours, name), rtol=1e-5, atol=1e-6)
    draw = context.get("renderer").gaussians.render
    a, b = (draw(g, subject.camera, torch.ones(3)).rgb for g in (ours, again))
    assert (a - b).abs().max() < 1e-3
    plain = draw(replace(ours, sh=None), subject.camera, torch.ones(3)).rgb
    assert (a - plain).abs().mean() > 0.002  # the harmonics are seen
    row = plyfile(tmp_path / "rich.ply")
    assert np.allclose(row["f_rest_16"], ours.sh[:, 1, 1])  # all coefficients of red, then of green


@pytest.mark.parametrize(("options", "count"), [({}, 45), ({"sh_degree": 0}, 0), ({"sh_degree": 1}, 9)])
def test_the_spherical_harmonics_that_a_loader_counts_are_there(
    options: dict[str, int],
    count: int,
    registry: Registry,
    context: Context,
    avatar: AvatarModel,
    params: BodyParams,
    tmp_path: Path,
) -> None:
    registry.get("exporter", "ply").create(options, context).write(avatar, params, tmp_path / "a.ply")
    row = plyfile(tmp_path / "a.ply")
    names = [n for n in row.dtype.names if n.startswith("f_rest_")]
    assert names == [f"f_rest_{k}" for k in range(count)]  # INRIA's loader asserts 45
    assert not any(np.any(row[n]) for n in names)
    assert row.dtype.names[-8:] == ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")


def test_what_cannot_be_written_is_one_sentence(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    exporter = registry.get("exporter", "ply").create({}, context)
    with pytest.raises(InputError, match="name it a.ply instead of a.txt"):
        exporter.write(avatar, params, tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="has no option 'color'"):
        exporter.write(avatar, params, tmp_path / "a.ply", color="red")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written, because a part of its path is a file"):
        exporter.write(avatar, params, tmp_path / "file" / "a.ply")
    (tmp_path / "dir.ply").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        exporter.write(avatar, params, tmp_path / "dir.ply")
