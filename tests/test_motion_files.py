"""Motion files on a body of nine tubes, which rests in an A-pose: reading, writing, refusing."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatarkit.motion import retargeting
from avatarkit.motion.files import load_motion, read_motion, save_motion, write_bvh
from avatarkit.motion.pose_solver import PoseSolver, frame, rotation_between, swing_twist
from avatarkit.motion.skeleton import recognize
from avatarkit.motion.source_skeleton import SourceSkeleton
from avatarkit.testing import TinyBody
from avatarkit.types.body import SMPLX_JOINTS, Motion

BODY = TinyBody()


def _motion(frames: int = 7, size: float = 0.6) -> Motion:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return size * torch.randn(*shape, generator=generator)

    joints = noise(frames, len(BODY.joint_names), 3)
    joints[:, 0] = 0
    params = replace(
        BODY.neutral(), expression=noise(frames, 2).abs().clamp(max=1), root=noise(frames, 3),
        translation=noise(frames, 3), joints=joints,
    )  # fmt: skip
    return Motion("a test", 25.0, params, loop=True, valid=torch.arange(frames) != 2)


def _positions(motion: Motion) -> torch.Tensor:
    p = motion.params
    skeleton = BODY.skeleton(p.shape)
    A = BODY.joint_transforms(skeleton, p.root, p.translation, p.joints)
    return (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]


def _bone(motion: Motion, start: str, end: str) -> torch.Tensor:
    """(T, 3) unit directions between joints."""
    at = _positions(motion)
    bone = at[:, BODY.joint_names.index(end)] - at[:, BODY.joint_names.index(start)]
    return torch.nn.functional.normalize(bone, dim=-1)


# ------------------------------------------------------------------------------------------------------------ rotations


def test_a_frame_has_its_primary_axis_exactly_and_is_a_rotation() -> None:
    R = frame(torch.tensor([0.0, 3, 4], dtype=torch.float64), torch.tensor([1.0, 1, 0], dtype=torch.float64))
    assert torch.allclose(R[:, 1], torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64))
    assert torch.allclose(R @ R.T, torch.eye(3, dtype=torch.float64))
    assert torch.det(R) > 0


@pytest.mark.parametrize("b", [[0.0, 0, 1], [0, 1, 0], [0.3, -1, 0.2], [0, -1, 0]])
def test_the_smallest_rotation_turns_one_direction_into_the_other(b: list[float]) -> None:
    a, b_ = torch.tensor([0.0, 1, 0], dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    R = rotation_between(a, b_)
    assert torch.allclose(R @ a, b_ / b_.norm(), atol=1e-9)
    angle = torch.acos((torch.trace(R) - 1).clamp(-2, 2) / 2)
    assert math.isclose(float(angle), math.acos(float(a @ b_ / b_.norm())), abs_tol=1e-6)


def test_twists_are_told_apart_from_swings_and_unwrapped() -> None:
    axis = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    angles = torch.linspace(0, 6, 60, dtype=torch.float64)
    swing = axis_angle_to_matrix(torch.tensor([0.7, 0.2, 0], dtype=torch.float64))
    twist = axis_angle_to_matrix(angles[:, None] * axis)
    assert torch.allclose(swing_twist(swing @ twist, axis), angles, atol=1e-9)
    assert torch.allclose(swing_twist(twist @ swing, axis), angles, atol=1e-9)


def test_a_pose_solver_reaches_the_frames_that_it_is_asked_for() -> None:
    solver = PoseSolver(BODY)
    generator = torch.Generator().manual_seed(1)
    wanted = {n: axis_angle_to_matrix(torch.randn(5, 3, generator=generator).double()) for n in solver.names}
    root, joints = solver.solve(wanted)
    joints[:, 0] = root
    local = axis_angle_to_matrix(joints.double())
    for name in solver.names:
        chain, j = [], BODY.joint_names.index(name)
        while j >= 0:
            chain.append(local[:, j])
            j = BODY.parents[j]
        world = torch.eye(3, dtype=torch.float64)
        for R in reversed(chain):
            world = world @ R
        assert torch.allclose(world @ solver.frames[name], wanted[name], atol=1e-5), name


# ------------------------------------------------------------------------------------------------------------ our files


def test_our_own_file_gives_back_every_number(tmp_path: Path) -> None:
    motion = _motion()
    save_motion(motion, BODY, tmp_path / "m.npz")
    for back in (load_motion(tmp_path / "m.npz", BODY), read_motion(str(tmp_path / "m.npz"), BODY)):
        assert (back.name, back.fps, back.loop) == ("a test", 25.0, True)
        assert torch.equal(back.valid, motion.valid)
        for field in ("shape", "expression", "root", "translation", "joints"):
            assert torch.equal(getattr(back.params, field), getattr(motion.params, field))
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:  # nothing in it needs pickle
        assert list(archive["joint_names"]) == list(BODY.joint_names)


def test_our_own_file_plays_on_another_body_model(tmp_path: Path) -> None:
    class Taller(TinyBody):
        name = "taller"

    motion = _motion(size=0.3)
    motion = replace(motion, params=replace(motion.params, root=0 * motion.params.root))
    save_motion(motion, BODY, tmp_path / "m.npz")
    back = read_motion(tmp_path / "m.npz", Taller())
    assert back.params.model == "taller"
    for start, end in (("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")):
        assert (_bone(back, start, end) * _bone(motion, start, end)).sum(-1).min() > 0.99
    assert torch.allclose(back.params.expression, motion.params.expression)


def test_saving_says_what_does_not_fit(tmp_path: Path) -> None:
    other = replace(_motion(), params=replace(_motion().params, model="anny"))
    for write in (save_motion, write_bvh):
        with pytest.raises(InputError, match="for the body model 'anny', not for 'tiny'"):
            write(other, BODY, tmp_path / "x")
        write(_motion(), BODY, tmp_path / "new folder" / "x")
        with pytest.raises(StoreError, match="a part of its path is a file"):
            write(_motion(), BODY, tmp_path / "new folder" / "x" / "y")


# ------------------------------------------------------------------------------------------------------------------ BVH


def test_bvh_gives_joints_back_within_a_tenth_of_a_millimeter(tmp_path: Path) -> None:
    motion = _motion(12, size=0.9)
    write_bvh(motion, BODY, tmp_path / "m.bvh")
    back = read_motion(tmp_path / "m.bvh", BODY)
    assert back.fps == pytest.approx(25.0)
    assert (_positions(back) - _positions(motion)).norm(dim=-1).max() < 1e-4


_TRUNK = {"Spine": (0, 20, 0), "Chest": (0, 20, 0), "Neck": (0, 20, 0), "Head": (0, 10, 0)}


def _t_pose(arm: tuple[float, ...], shoulder: tuple[float, ...], names: tuple[str, str, str], z_up: bool = False) -> str:
    """A BVH file of one frame: arms to the sides at zero, the shoulders rotated (degrees about z, x, y)."""

    def offset(x: float, y: float, z: float) -> str:
        return f"OFFSET {x} {-z} {y}" if z_up else f"OFFSET {x} {y} {z}"

    lines, values = ["HIERARCHY", "ROOT Hips", "{", offset(0, 90, 0)], [0.0] * 6
    angles = "Yrotation Xrotation Zrotation" if z_up else "Zrotation Xrotation Yrotation"
    lines.append(f"CHANNELS 6 Xposition Yposition Zposition {angles}")

    def joint(name: str, at: tuple[float, float, float], turn: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
        lines.extend([f"JOINT {name}", "{", offset(*at), f"CHANNELS 3 {angles}"])
        z, x, y = turn
        values.extend((-z, x, y) if z_up else (z, x, y))

    for name, at in _TRUNK.items():
        joint(name, at)
    lines.extend(["End Site", "{", offset(0, 15, 0), "}", "}", "}"])
    for sign, side in ((1, "L"), (-1, "R")):
        a, b, c = (n.replace("#", "Left" if side == "L" else "Right").replace("@", side.lower()) for n in names)
        joint(a, (sign * 18, 15, 0), (sign * shoulder[0], shoulder[1], sign * shoulder[2]))
        joint(b, (sign * 28, 0, 0), (sign * arm[0], arm[1], sign * arm[2]))
        joint(c, (sign * 25, 0, 0))
        lines.extend(["End Site", "{", offset(sign * 8, 0, 0), "}", "}", "}", "}"])
    lines.extend(["}", "}"])
    for sign, side in ((1, "Left"), (-1, "Right")):
        joint(f"{side}UpLeg", (sign * 9, -2, 0))
        joint(f"{side}Leg", (0, -42, 0))
        lines.extend(["End Site", "{", offset(0, -42, 0), "}", "}", "}"])
    lines.extend(["}", "MOTION", "Frames: 1", "Frame Time: 0.04", " ".join(map(str, values))])
    return "\n".join(lines)


_CONVENTIONS = [
    ("#Arm", "#ForeArm", "#Hand"),
    ("mixamorig:#Arm", "mixamorig:#ForeArm", "mixamorig:#Hand"),
    ("UpArm_@", "LoArm_@", "Hand_@"),
    ("upperarm01.@", "lowerarm01.@", "wrist.@"),
    ("#Shoulder", "#Elbow", "#Wrist"),
    ("@Shldr", "@ForeArm", "@Hand"),
]


@pytest.mark.parametrize("names", _CONVENTIONS)
@pytest.mark.parametrize("z_up", [False, True])
def test_arms_point_where_the_file_has_them_whatever_the_pose_at_zero(
    names: tuple[str, str, str], z_up: bool, tmp_path: Path
) -> None:
    path = tmp_path / "arms.bvh"
    path.write_text(_t_pose((0, 0, -90), (-80, 0, 0), names, z_up))  # upper arms down, forearms forward
    motion = read_motion(path, BODY)
    assert motion.fps == pytest.approx(25)
    for sign, side in ((1, "left"), (-1, "right")):
        down = torch.tensor([sign * math.cos(math.radians(80)), -math.sin(math.radians(80)), 0.0])
        assert torch.allclose(_bone(motion, f"{side}_shoulder", f"{side}_elbow")[0], down, atol=0.01)
        skeleton = BODY.skeleton(motion.params.shape)
        A = BODY.joint_transforms(skeleton, motion.params.root, motion.params.translation, motion.params.joints)
        j = BODY.joint_names.index(f"{side}_elbow")
        fore = A[0, j, :3, :3] @ (skeleton.positions[j] - skeleton.positions[j - 1])  # rests along the upper arm
        assert torch.nn.functional.normalize(fore, dim=0)[2] > 0.99
    assert motion.params.root.abs().max() < 0.01


def test_joints_are_recognized_by_many_names() -> None:
    names = ["Hips", "Spine", "Spine1", "Neck", "Neck1", "Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand",
             "LeftHandIndex1", "LeftHandIndex2", "RightShoulder", "RightArm", "RightForeArm", "RightHand", "LHipJoint",
             "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "RHipJoint", "RightUpLeg", "RightLeg"]  # fmt: skip
    parents = [-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 9, 10, 2, 12, 13, 14, 0, 16, 17, 18, 19, 0, 21, 22]
    found = {n: names[j] for n, j in recognize(names, parents).items()}
    assert found["left_collar"] == "LeftShoulder"
    assert found["left_shoulder"] == "LeftArm"
    assert found["left_index2"] == "LeftHandIndex2"
    assert (found["right_hip"], found["right_knee"]) == ("RightUpLeg", "RightLeg")
    assert (found["pelvis"], found["spine1"], found["spine3"]) == ("Hips", "Spine", "Spine1")
    assert found["left_foot"] == "LeftToeBase"
    assert "jaw" not in found
    bip = ["Bip01", "Bip01 Spine", "Bip01 L Clavicle", "Bip01 L UpperArm", "Bip01 L Forearm", "Bip01 R UpperArm",
           "Bip01 L Thigh", "Bip01 R Thigh", "Bip01 L Calf"]  # fmt: skip
    found = {n: bip[j] for n, j in recognize(bip, [-1, 0, 1, 2, 3, 1, 0, 0, 6]).items()}
    assert (found["left_elbow"], found["left_knee"]) == ("Bip01 L Forearm", "Bip01 L Calf")
    assert recognize(SMPLX_JOINTS, [-1] + [0] * 54) == {n: j for j, n in enumerate(SMPLX_JOINTS)}


def test_finger_tips_that_are_turned_around_follow_the_finger() -> None:
    step = torch.tensor([0.03, 0.0, 0.0], dtype=torch.float64)
    rest = {f"left_index{k}": k * step for k in (1, 2, 3)} | {"left_index3_tip": 4 * step}
    straight = torch.eye(3, dtype=torch.float64)[None]
    back = axis_angle_to_matrix(torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64))
    fist = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, -1.8]], dtype=torch.float64))
    across = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    for last, kept in ((back, False), (fist, True)):
        turns = {"left_index1": straight, "left_index2": straight, "left_index3": last}
        source = SourceSkeleton("a", rest, turns, None, 30.0)
        frames = retargeting._finger("left_index", source, turns, across, step)
        assert torch.allclose(frames["left_index3"], frames["left_index2"]) is not kept


# --------------------------------------------------------------------------------------------------------------- SMPL-X


def _smplx(frames: int = 4, width: int = 165) -> np.ndarray:
    poses = np.zeros((frames, width))
    for side, sign in (("left", 1), ("right", -1)):
        shoulder = 3 * SMPLX_JOINTS.index(f"{side}_shoulder")
        poses[:, shoulder + 2] = -sign * np.linspace(0, math.radians(70), frames)
    return poses


@pytest.mark.parametrize("width", [165, 156, 72, 66])
@pytest.mark.parametrize("z_up", [False, True])
def test_smplx_arms_go_from_the_sides_down(width: int, z_up: bool, tmp_path: Path) -> None:
    poses = _smplx(width=width)
    if z_up:  # AMASS
        turn = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # y up to z up, facing +x
        poses[:, :3] = matrix_to_axis_angle(turn).numpy()
    np.savez(tmp_path / "s.npz", poses=poses, trans=np.zeros((4, 3)), mocap_frame_rate=120.0, gender="neutral")
    motion = read_motion(tmp_path / "s.npz", BODY)
    assert motion.fps == 120
    assert motion.params.root.abs().max() < 1e-3
    upper = _bone(motion, "left_shoulder", "left_elbow")
    assert upper[0, 0] > 0.95
    assert upper[-1, 1] < -0.95
    assert (_bone(motion, "right_shoulder", "right_elbow") * torch.tensor([-1.0, 1, 1]) - upper).abs().max() < 1e-3


def test_smplx_in_parts_with_an_open_jaw(tmp_path: Path) -> None:
    poses = _smplx()
    jaw = np.zeros((4, 3))
    jaw[:, 0] = [0, 0.1, 0.2, 0.5]
    parts = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_jaw": jaw}
    np.savez(tmp_path / "s.npz", mocap_framerate=np.array([60]), **parts)
    motion = read_motion(tmp_path / "s.npz", BODY)
    assert motion.fps == 60
    opened = motion.params.expression[:, 0]
    assert torch.allclose(opened, torch.tensor([0, 0.1 / 0.43, 0.2 / 0.43, 1.0]), atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ bad files


def _npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _lying_array() -> bytes:
    """An archive whose array says that it holds a terabyte."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 37, 165)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("poses.npy", stream.getvalue())
    return archive.getvalue()


def _bomb() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("poses.npy", bytes(1000))
        file.filelist[0].file_size = 3 << 30  # what it says to unpack to
    return archive.getvalue()


_BVH = _t_pose((0, 0, 0), (0, 0, 0), _CONVENTIONS[0])
_BAD = {
    "empty": b"",
    "text": b"hello",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(100),
    "truncated npz": _npz(poses=_smplx(40))[:-300],
    "other npz": _npz(a=np.zeros(3)),
    "objects": _npz(poses=np.array([{"a": 1}, None], dtype=object)),
    "words": _npz(poses=np.array([["a", "b"]])),
    "width": _npz(poses=np.zeros((4, 100))),
    "no frames": _npz(poses=np.zeros((0, 165))),
    "nan": _npz(poses=np.full((4, 165), np.nan)),
    "scalar": _npz(poses=np.float64(3)),
    "frame rate": _npz(poses=np.zeros((4, 165)), mocap_frame_rate=0.0),
    "translation": _npz(poses=np.zeros((4, 165)), trans=np.zeros((3, 3))),
    "lying array": _lying_array(),
    "bomb": _bomb(),
    "own format alone": _npz(format="avatarkit-motion-1"),
    "bvh: head": b"HIERARCHY\nROOT Hips\n{\n",
    "bvh: half": _BVH[: len(_BVH) // 2].encode(),
    "bvh: no frames": _BVH.replace("Frames: 1", "Frames: 0").encode(),
    "bvh: too many frames": _BVH.replace("Frames: 1", "Frames: 99999999999").encode(),
    "bvh: few values": _BVH.replace("Frames: 1", "Frames: 2").encode(),
    "bvh: words in frames": _BVH.replace("0.04\n", "0.04\nx ").encode(),
    "bvh: words in skeleton": _BVH.replace("OFFSET 0 20 0", "OFFSET 0 y 0").encode(),
    "bvh: infinite": _BVH.replace("OFFSET 0 20 0", "OFFSET 0 inf 0").encode(),
    "bvh: nan": _BVH.replace("0.04\n0.0", "0.04\nnan").encode(),
    "bvh: channels": _BVH.replace("Xrotation", "Wrotation").encode(),
    "bvh: not a person": _BVH.replace("Arm", "Wing").encode(),
    "bvh: bytes": b"HIERARCHY \xff\xfe\x00 MOTION \x00",
    "bvh: two roots": _BVH.replace("JOINT Spine", "ROOT Spine").encode(),
}


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_file_is_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(_BAD[name])
    with pytest.raises(InputError) as error:
        read_motion(path, BODY)
    text = str(error.value)
    assert "bad.bin" in text
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 200


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    save_motion(_motion(), BODY, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        arrays = dict(archive)
    broken: dict[str, object] = {
        "joints": arrays["joints"][:3], "fps": np.float64(np.nan), "joint_parents": np.arange(9), "root": np.array("x"),
        "joint_positions": np.full((9, 3), np.inf), "valid": np.ones(3),
    }  # fmt: skip
    for key, value in broken.items():
        (tmp_path / "b.npz").write_bytes(_npz(**{**arrays, key: value}))
        with pytest.raises(InputError, match=r"b\.npz is a damaged avatarkit motion"):
            load_motion(tmp_path / "b.npz", BODY)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no motion file"):
        read_motion(tmp_path / "none.bvh", BODY)


@pytest.mark.parametrize(("step", "fps"), [("0.041667", 24.0), ("0.033333", 30.0), ("0.0333667", 29.97), ("0.008342", 119.875)])
def test_rates_that_files_round_are_told(step: str, fps: float, tmp_path: Path) -> None:
    write_bvh(_motion(), BODY, tmp_path / "m.bvh")
    text = (tmp_path / "m.bvh").read_text()
    (tmp_path / "m.bvh").write_text(text.replace("Frame Time: 0.04000000", f"Frame Time: {step}"))
    assert read_motion(tmp_path / "m.bvh", BODY).fps == pytest.approx(fps, rel=1e-5)
