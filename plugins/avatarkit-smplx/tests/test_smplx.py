from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import avatarkit_smplx
from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.config.options import make_config
from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import BodyModel, Context
from avatarkit.motion.files import read_motion, save_motion, write_bvh
from avatarkit.testing import conformance
from avatarkit.types.body import SMPLX_JOINTS, Motion
from avatarkit_smplx.config import SmplxConfig
from avatarkit_smplx.model import SmplxBody

smplx = pytest.importorskip("smplx")
from smplx.vertex_ids import vertex_ids  # noqa: E402

from .synthetic import COMPONENTS, JOINTS, VERTICES, joints, write  # noqa: E402

IDS = vertex_ids["smplx"]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("smplx") / "weights" / "smplx" / "SMPLX_NEUTRAL.npz", IDS)


@pytest.fixture(autouse=True)
def cache(file, monkeypatch) -> Path:
    """The user's weights are the synthetic file."""
    monkeypatch.setenv("AVATARKIT_CACHE", str(file.parents[2]))
    return file.parents[2]


@pytest.fixture(scope="module")
def body(file) -> SmplxBody:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_CACHE", str(file.parents[2]))
        return SmplxBody(SmplxConfig(), Context())


test_the_body_model_keeps_its_promises = conformance(avatarkit_smplx)


# ------------------------------------------------------------------------------------------------- against the package smplx


def test_vertices_and_joints_are_those_of_the_package(body, file):
    theirs = smplx.SMPLX(str(file), use_pca=False, flat_hand_mean=True, num_betas=10, num_expression_coeffs=10, ext="npz")
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, size: float = 0.4) -> torch.Tensor:
        return size * torch.randn(*shape, generator=generator)

    betas, expression, pose, moved = noise(1, 10, size=1.0), noise(1, 10, size=1.0), noise(1, JOINTS, 3), noise(1, 3)
    flat = {n: pose[:, SMPLX_JOINTS.index(n)] for n in SMPLX_JOINTS}
    assert (len(body.shape_names), len(body.expression_names)) == (10, 10) == (COMPONENTS // 2, COMPONENTS // 2)
    with torch.no_grad():
        posed = theirs(
            betas=betas, transl=moved, global_orient=flat["pelvis"], body_pose=pose[:, 1:22].flatten(1), jaw_pose=flat["jaw"],
            leye_pose=flat["left_eye_smplhf"], reye_pose=flat["right_eye_smplhf"],
            left_hand_pose=pose[:, 25:40].flatten(1), right_hand_pose=pose[:, 40:].flatten(1),
        )  # fmt: skip
        expressed = theirs(betas=betas, expression=expression)
    skeleton = body.skeleton(betas[0])
    p = replace(
        body.neutral(), shape=betas[0], root=flat["pelvis"], joints=pose, translation=moved + skeleton.positions[0],
        expression=torch.zeros(1, 10),
    )  # fmt: skip
    torch.testing.assert_close(body.vertices(p), posed.vertices, atol=2e-6, rtol=0)
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    at = (A[0, :, :3, :3] @ skeleton.positions[..., None])[..., 0] + A[0, :, :3, 3]
    torch.testing.assert_close(at, posed.joints[0, :JOINTS], atol=2e-6, rtol=0)
    torch.testing.assert_close(body.rest(betas[0], expression), expressed.vertices, atol=2e-6, rtol=0)


# ----------------------------------------------------------------------------------------------------------- what it knows


def test_joints_groups_and_landmarks_are_where_they_belong(body):
    skeleton = body.skeleton(body.neutral().shape)
    torch.testing.assert_close(skeleton.positions, torch.from_numpy(joints()).float(), atol=1e-6, rtol=0)
    assert [g.name for g in body.pose_groups] == list(SMPLX_JOINTS)
    pose = body.landmarks("pose33")
    at = dict(zip(pose.index.tolist(), (skeleton.positions[pose.joint] + pose.offset), strict=True))
    assert set(at) == {0, 7, 8, *range(11, 33)}
    assert at[0][2] > 0.1
    assert at[7][0] > 0 > at[8][0]
    for k in range(11, 33, 2):
        torch.testing.assert_close(at[k] * torch.tensor([-1.0, 1, 1]), at[k + 1])
    hand = body.landmarks("hand21_left")
    assert hand.index.tolist() == list(range(21))
    tips = (skeleton.positions[hand.joint] + hand.offset)[[8, 12, 16, 20]]
    assert (tips[:, 0] > skeleton.positions[SMPLX_JOINTS.index("left_middle1"), 0]).all()
    assert (hand.bone_length > 0).all()
    face = body.landmarks("face478")
    assert face.triangles.shape == (478, 3)
    assert int((face.sigma < 0.01).sum()) == 51 + 8
    assert body.landmarks("coco133") is None


def test_parts_follow_joints_and_landmarks(body):
    rest = body.rest(body.neutral().shape, body.neutral().expression[None])[0]
    for name, side in (("left_hand", 1), ("right_hand", -1)):
        chosen = rest[body.part(name) > 0.9]
        assert len(chosen) > 500
        assert (side * chosen[:, 0] > 0.45).all()
    assert (rest[body.part("head") > 0.9][:, 1] > 0.05).all()
    assert 0 < float(body.part("face").sum()) < float(body.part("head").sum())
    assert not body.part("teeth").any()
    with pytest.raises(KeyError):
        body.part("tail")


# ------------------------------------------------------------------------------------------------------------- retargeting


def _bones(body: BodyModel, motion: Motion, groups: dict[str, int]) -> torch.Tensor:
    """(T, 6, 3) directions of upper arms, forearms and thighs in the world."""
    p = motion.params
    skeleton = body.skeleton(p.shape)
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    at = (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]
    bones = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"))
    pairs = [(groups[f"{s}_{a}"], groups[f"{s}_{b}"]) for s in ("left", "right") for a, b in bones]
    return torch.stack([torch.nn.functional.normalize(at[:, b] - at[:, a], dim=-1) for a, b in pairs], 1)


def _groups(body: BodyModel) -> dict[str, int]:
    return {g.name: g.joints[0] for g in body.pose_groups}


@pytest.fixture(scope="module")
def anny() -> Components:
    tables = {slot: {"use": "nothing"} for slot in SLOTS}
    return Components(Recipe.from_dict(tables | {"body": {"use": "anny"}, "motions": {"use": "builtin"}}), device="cpu")


def test_motions_go_from_anny_to_smplx_and_back(body, anny, tmp_path):
    other = anny.get("body")
    talk = anny.get("motions").motion("talk-2")
    talk = replace(talk, params=talk.params[60:120:5])
    save_motion(talk, other, tmp_path / "talk.npz")
    there = read_motion(tmp_path / "talk.npz", body)
    assert there.params.model == "smplx"
    limbs = _bones(other, talk, _groups(other))
    assert (limbs * _bones(body, there, _groups(body))).sum(-1).min() > 0.995  # within 6 degrees
    jaw = there.params.joints[:, SMPLX_JOINTS.index("jaw"), 0]
    opened = talk.params.expression[:, other.expression_names.index("jawOpen")]
    save_motion(there, body, tmp_path / "there.npz")
    back = read_motion(tmp_path / "there.npz", other)
    assert (limbs * _bones(other, back, _groups(other))).sum(-1).min() > 0.99
    if bool(jaw.any()):
        assert torch.corrcoef(torch.stack([jaw, opened]))[0, 1] > 0.9


def test_smplx_archives_and_bvh_are_taken_as_they_are(body, tmp_path):
    generator = torch.Generator().manual_seed(1)
    poses = 0.3 * torch.randn(8, JOINTS, 3, generator=generator)
    np.savez(tmp_path / "a.npz", poses=poses.flatten(1).numpy(), trans=np.zeros((8, 3)), mocap_frame_rate=30.0)
    motion = read_motion(tmp_path / "a.npz", body)
    torch.testing.assert_close(motion.params.joints[:, 1:], poses[:, 1:])
    torch.testing.assert_close(motion.params.root, poses[:, 0])
    write_bvh(motion, body, tmp_path / "a.bvh")
    save_motion(motion, body, tmp_path / "b.npz")
    for name in ("a.bvh", "b.npz"):
        back = read_motion(tmp_path / name, body)
        apart = body.vertices(back.params) - body.vertices(replace(motion.params, expression=back.params.expression))
        assert apart.norm(dim=-1).max() < 1e-3


# ---------------------------------------------------------------------------------------------------------------- files


class _Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def _body(folder: Path, name: str = "SMPLX_NEUTRAL.npz", **more) -> SmplxBody:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_CACHE", str(folder))
        if more:
            write(folder / "weights" / "smplx" / name, IDS, **more)
        return SmplxBody(SmplxConfig(), Context())


def test_objects_in_the_file_are_never_opened(tmp_path):
    trap = tmp_path / "trap"
    evil = np.array([_Evil(trap)], dtype=object)
    assert _body(tmp_path, part2num=evil).name == "smplx"  # the official file has such tables
    with pytest.raises(InputError, match="holds objects where numbers should be"):
        _body(tmp_path, v_template=evil)
    assert not trap.exists()


def test_other_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(MissingWeights, match="avatarkit weights add smplx FILE"):
        _body(tmp_path)
    with pytest.raises(InputError, match="it lacks J_regressor"):
        _body(tmp_path, without=("J_regressor",))
    with pytest.raises(InputError, match="other shapes"):
        _body(tmp_path, weights=np.zeros((VERTICES, 24)))
    (tmp_path / "weights" / "smplx" / "SMPLX_NEUTRAL.npz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InputError, match="Pickles"):
        _body(tmp_path)
    with pytest.raises(ConfigError, match="must be 1 to 300, not 0"):
        make_config(SmplxConfig, {"shapes": 0})


def test_texture_coordinates_come_from_the_model_or_from_the_makers_obj(tmp_path):
    with pytest.raises(MissingWeights, match="smplx-uv"):
        _body(tmp_path, without=("vt", "ft"))
    lines = [f"vt {u:.4f} 0.25" for u in np.linspace(0, 1, 11_313)] + ["f 1/1 2/2 3/11313"] * 20_908
    (tmp_path / "weights" / "smplx-uv.obj").write_text("\n".join(lines))
    body = _body(tmp_path, without=("vt", "ft"))
    assert body.uv[11_312].tolist() == [1.0, 0.25]
    assert body.uv_faces[0].tolist() == [0, 1, 11_312]
    (tmp_path / "weights" / "smplx-uv.obj").write_text("vt 0 0\nf 1/1 1/1 1/1")
    with pytest.raises(InputError, match=r"smplx-uv\.obj do not belong"):
        _body(tmp_path, without=("vt", "ft"))


def test_the_license_is_told():
    told = {}
    avatarkit_smplx.register_body_models(lambda name, **rest: told.update({name: rest}))
    assert told["smplx"]["license"].commercial is False
