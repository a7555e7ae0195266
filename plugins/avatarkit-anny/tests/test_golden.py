"""Against the anny package itself, in float64 (``tools/make_golden.py``)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.types.body import BodyParams

CASES = range(6)
METER_TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("golden.npz")) as file:
        return dict(file)


def params(golden, case) -> BodyParams:
    values = {k: torch.from_numpy(golden[k][case]) for k in ("shape", "expression", "root", "translation", "joints")}
    return BodyParams(model="anny", **values)


@pytest.mark.parametrize("names", ["shape_names", "expression_names", "joint_names"])
def test_names_are_those_of_anny(body, golden, names):
    assert getattr(body, names) == tuple(golden[names].tolist())


@pytest.mark.parametrize("case", CASES)
def test_vertices_at_rest_with_teeth(body, golden, case):
    p, subset = params(golden, case), torch.from_numpy(golden["subset"]).long()
    error = body.rest(p.shape, p.expression[None], subset)[0] - torch.from_numpy(golden["rest"][case])
    assert error.norm(dim=-1).max() < 1e-4
    assert body.part("teeth")[subset].sum() == body.part("teeth").sum() == 136


@pytest.mark.parametrize("case", CASES)
def test_posed_vertices(body, golden, case):
    subset = torch.from_numpy(golden["subset"]).long()
    own = body.part("teeth")[subset] == 0  # Anny's rig moves teeth with bones of the jaw and lips too
    error = body.vertices(params(golden, case))[0][subset] - torch.from_numpy(golden["posed"][case])
    assert error[own].norm(dim=-1).max() < METER_TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_joints(body, golden, case):
    p = params(golden, case)
    skeleton = body.skeleton(p.shape)
    transforms = body.joint_transforms(skeleton, p.root[None], p.translation[None], p.joints[None])[0]
    rotation, shift = transforms[:, :3, :3], transforms[:, :3, 3]
    heads = (rotation @ skeleton.positions[..., None])[..., 0] + shift
    torch.testing.assert_close(heads, torch.from_numpy(golden["heads"][case]), atol=1e-5, rtol=0)
    frames = torch.from_numpy(golden["frames"][case])
    torch.testing.assert_close(rotation @ skeleton.orientations, frames, atol=5e-3, rtol=0)
