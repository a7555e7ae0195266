"""Motion files of the kinds that people bring: they play right, or one sentence says why not."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.motion.files import inspect_motion, read_joint_map, read_motion, save_motion, write_bvh
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit.motion.skeleton import recognize
from avatarkit.motion.source_skeleton import SourceSkeleton, orient, scale_to_meters
from avatarkit.testing import TinyBody, tiny_motion
from avatarkit.testing.motion_conventions import (
    JOINTS,
    Clip,
    Convention,
    Figure,
    apart,
    bvh,
    glb,
    make_clip,
    rig_names,
    world_rotations,
)
from avatarkit.types.body import SMPLX_JOINTS, Motion

FIGURE = Figure()
SOLVER = PoseSolver(FIGURE)  # type: ignore[arg-type]
BODY = TinyBody()


def _still(frames: int = 3) -> Clip:
    return Clip({n: np.tile(np.eye(3), (frames, 1, 1)) for n in JOINTS}, np.tile([0.0, 95, 0], (frames, 1)))


def _read(path: Path, content: bytes, **options: object) -> Motion:
    path.write_bytes(content)
    return read_motion(path, FIGURE, **options)  # type: ignore[arg-type]


def _npz(path: Path, **arrays: object) -> Motion:
    np.savez(path, **{"mocap_frame_rate": 30.0, **arrays})  # type: ignore[arg-type]
    return read_motion(path, FIGURE)  # type: ignore[arg-type]


def _hinge(motion: Motion, name: str) -> np.ndarray:
    """World axes (T, 3) about which a knee or elbow bends."""
    turns = world_rotations(motion, FIGURE)[:, JOINTS.index(name)]
    return (turns @ SOLVER.frames[name].numpy())[..., 0]


# ------------------------------------------------------------------------------------------------------------- hinges


@pytest.mark.parametrize("degrees", [0, 1, 3, 5, 8])
def test_knees_of_smpl_that_are_nearly_straight_point_ahead(degrees: float, tmp_path: Path) -> None:
    poses = np.zeros((5, 165))
    for side in ("left", "right"):
        poses[:, 3 * SMPLX_JOINTS.index(f"{side}_knee")] = math.radians(degrees)
        poses[:, 3 * SMPLX_JOINTS.index(f"{side}_hip")] = -math.radians(degrees / 2)
    motion, straight = _npz(tmp_path / "a.npz", poses=poses), _npz(tmp_path / "b.npz", poses=0 * poses)
    bent = world_rotations(motion, FIGURE) @ np.swapaxes(world_rotations(straight, FIGURE), -1, -2)
    for side in ("left", "right"):
        for part, angle in (("hip", -degrees / 2), ("knee", degrees / 2)):
            turn = Rotation.from_matrix(bent[:, JOINTS.index(f"{side}_{part}")])
            expected = Rotation.from_euler("x", angle, degrees=True)
            assert np.degrees((turn * expected.inv()).magnitude().max()) < 0.5
    for name in ("left_hip", "left_knee", "right_hip", "right_knee"):
        x, _, z = np.abs(_hinge(straight, name)).T
        assert np.degrees(np.arctan2(z, x)).max() < 1


@pytest.mark.parametrize("kind", ["npz", "bvh"])
def test_straight_arms_do_not_roll(kind: str, tmp_path: Path) -> None:
    if kind == "npz":
        motion = _npz(tmp_path / "a.npz", poses=np.zeros((2, 165)))
    else:
        motion = _read(tmp_path / "a.bvh", bvh(_still(), Convention()))
    for name in ("left_shoulder", "left_elbow", "right_shoulder", "right_elbow"):
        assert np.abs(_hinge(motion, name)[:, 1]).min() > math.cos(math.radians(12))  # SMPL's upper arms hang a little


# --------------------------------------------------------------------------------------------------------- up and path


def test_a_clip_in_camera_axes_is_turned_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = make_clip(2)
    flipped = np.diag([1.0, -1.0, -1.0])
    root = torch.from_numpy(flipped @ clip.turns["pelvis"])
    poses = np.zeros((len(root), 165))
    poses[:, :3] = matrix_to_axis_angle(root).numpy()
    motion = _npz(tmp_path / "a.npz", poses=poses, trans=clip.path @ flipped / 100)
    assert world_rotations(motion, FIGURE)[:, 0, 1, 1].min() > 0.9
    assert "a.npz: -y is taken to be up (the person stands along it); --up says otherwise." in caplog.text


def test_what_a_format_leaves_out_of_positions_is_in_its_units() -> None:
    """A person who bows far stands on the floor, in centimeters from the pelvis's own place."""
    rest = {n: 100 * v for n, v in SOLVER.positions.items()}
    bowed = torch.from_numpy(Rotation.from_euler("x", [[100.0]] * 4, degrees=True).as_matrix())
    legs = ("hip", "knee", "ankle", "foot")
    turns = {n: torch.eye(3).double().expand(4, 3, 3) if n.endswith(legs) else bowed for n in rest}
    height = float(rest["pelvis"][1] - rest["left_ankle"][1])
    source = SourceSkeleton(
        "a", rest, turns, torch.tensor([[0, 2.0, 0]] * 4).double(), 30.0, anatomical=True, rest_is_upright=False,
        origins=((0.0, 0.0, 0.0), (0.0, height, 0.0)),
    )  # fmt: skip
    assert orient(source, SOLVER).up.axis == "y"


def test_the_user_says_which_axis_is_up(tmp_path: Path) -> None:
    poses = np.zeros((3, 165))
    np.savez(tmp_path / "a.npz", poses=poses, mocap_frame_rate=30.0)
    motion, info = inspect_motion(tmp_path / "a.npz", FIGURE, up="z")  # type: ignore[arg-type]
    assert info.up.axis == "z"
    assert abs(world_rotations(motion, FIGURE)[0, 0, 1, 1]) < 0.01  # lies
    with pytest.raises(InputError, match="'up' is not an axis that can be up: use y, z"):
        read_motion(tmp_path / "a.npz", FIGURE, up="up")  # type: ignore[arg-type]


def test_options_that_a_format_does_not_need_are_refused(tmp_path: Path) -> None:
    save_motion(tiny_motion(BODY), BODY, tmp_path / "own.npz")
    np.savez(tmp_path / "smpl.npz", poses=np.zeros((3, 165)), mocap_frame_rate=30.0)
    with pytest.raises(InputError, match=r"own\.npz needs no --up"):
        read_motion(tmp_path / "own.npz", BODY, up="y")
    with pytest.raises(InputError, match=r"smpl\.npz needs no --joint-map"):
        read_motion(tmp_path / "smpl.npz", FIGURE, joint_map={"left_elbow": "a"})  # type: ignore[arg-type]


def test_the_first_frame_is_where_the_person_stands(tmp_path: Path) -> None:
    clip = make_clip(4, frames=9, posture="crouch")
    motion = _read(tmp_path / "a.bvh", bvh(clip, Convention()))
    heights = motion.params.translation[:, 1]
    assert float(heights[0]) == 0
    assert float(heights.min()) == pytest.approx(-0.4 * 1.05, abs=0.02)
    assert abs(float(heights[-1])) < 0.01


def test_a_scaled_path_is_in_the_units_of_the_model(tmp_path: Path) -> None:
    path = np.linspace([0, 90.0, 0], [0, 90.0, 93.78], 31)
    plain = _npz(tmp_path / "a.npz", poses=np.zeros((31, 72)), trans=path / 93.78)
    motion = _npz(tmp_path / "b.npz", smpl_poses=np.zeros((31, 72)), smpl_trans=path, smpl_scaling=np.array([93.78]))
    torch.testing.assert_close(motion.params.translation, plain.params.translation)
    assert float(motion.params.translation[-1].norm()) == pytest.approx(1.0, abs=0.15)
    with pytest.raises(InputError, match="impossible scaling"):
        _npz(tmp_path / "c.npz", smpl_poses=np.zeros((31, 72)), smpl_trans=path, smpl_scaling=np.array([0.0]))


def test_what_is_written_for_other_programs_stands_on_the_ground(tmp_path: Path) -> None:
    motion = tiny_motion(BODY)
    still = replace(motion, params=replace(motion.params, translation=0 * motion.params.translation))
    write_bvh(still, BODY, tmp_path / "a.bvh")
    rest = BODY.rest(motion.params.shape, torch.zeros(1, 2))[0]
    pelvis = BODY.skeleton(motion.params.shape).positions[0]
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    first = lines[next(k for k, line in enumerate(lines) if line.startswith("Frame Time")) + 1].split()
    assert float(first[1]) == pytest.approx(100 * float(pelvis[1] - rest[:, 1].min()), abs=1e-3)
    save_motion(still, BODY, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["joint_positions"][0, 1] == pytest.approx(float(pelvis[1] - rest[:, 1].min()), abs=1e-5)


# ------------------------------------------------------------------------------------------------------------- skeletons


def test_where_a_file_has_ankle_and_foot_the_foot_is_the_toe(tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_bytes(bvh(make_clip(1), Convention(rig="SMPL")))
    _, info = inspect_motion(path, FIGURE)  # type: ignore[arg-type]
    assert info.rig == "SMPL"
    assert (info.joints["left_ankle"], info.joints["left_foot"]) == ("L_Ankle", "L_Foot")


@pytest.mark.parametrize("names", [("UpLeg", "Leg"), ("thigh", "calf"), ("Thigh", "Shin"), ("UpperLeg", "LowerLeg")])
@pytest.mark.parametrize("toe", [False, True])
def test_an_ankle_above_a_foot_is_the_ankle_in_every_rig(names: tuple[str, str], toe: bool) -> None:
    chain = ["LeftArm", "LeftForeArm", "RightArm", "RightForeArm", *(f"{s}{n}" for s in ("Left", "Right") for n in names)]
    parents = [0, 1, 0, 3, 0, 5, 0, 7]
    for side, knee in (("Left", 6), ("Right", 8)):
        for name in ("Ankle", "Foot", *(["Toe"] if toe else [])):
            parents.append(knee if name == "Ankle" else len(chain))
            chain.append(side + name)
    found = recognize(["Hips", *chain], [-1, *parents])
    assert (["Hips", *chain])[found["left_ankle"]] == "LeftAnkle"
    assert (["Hips", *chain])[found["right_foot"]] == ("RightToe" if toe else "RightFoot")


_PARTED = [  # name, parent; the trunk parts above the hips
    [("全ての親", -1), ("センター", 0), ("上半身", 1), ("首", 2), ("頭", 3), ("左腕", 2), ("左ひじ", 5), ("右腕", 2),
     ("右ひじ", 7), ("下半身", 1), ("左足", 9), ("左ひざ", 10), ("右足", 9), ("右ひざ", 12), ("左足ＩＫ", 0)],
    [("Genesis8Female", -1), ("hip", 0), ("abdomenLower", 1), ("neckLower", 2), ("head", 3), ("lShldrBend", 2),
     ("lForearmBend", 5), ("rShldrBend", 2), ("rForearmBend", 7), ("pelvis", 1), ("lThighBend", 9), ("lShin", 10),
     ("rThighBend", 9), ("rShin", 12)],
]  # fmt: skip


@pytest.mark.parametrize("joints", _PARTED)
def test_where_the_trunk_parts_above_the_hips_the_pelvis_is_there(joints: list[tuple[str, int]]) -> None:
    found = recognize([n for n, _ in joints], [p for _, p in joints])
    assert (found["pelvis"], found["left_knee"], found["head"]) == (1, 11, 4)


_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def test_a_rest_pose_in_other_axes_than_the_world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A skeleton that is y up at rest, turned by its root into a world that is z up."""
    clip = make_clip(8)
    expected = _read(tmp_path / "a.bvh", bvh(clip, Convention()))
    turned = Clip({n: _BLENDER @ R for n, R in clip.turns.items()}, clip.path @ _BLENDER.T)
    motion = _read(tmp_path / "b.bvh", bvh(turned, Convention()))
    assert apart(motion, expected, FIGURE) == pytest.approx((0, 0), abs=1e-3)
    assert "b.bvh: z is taken to be up (the person stands along it)" in caplog.text


@pytest.mark.parametrize("name", ["LeftForeArm", "LeftHand", "LeftLeg", "LeftFoot", "LeftArm", "LeftHandIndex2", "Spine1"])
def test_a_bone_without_length_is_taken_from_the_other_side(name: str, tmp_path: Path) -> None:
    clip = make_clip(6)
    expected = _read(tmp_path / "a.bvh", bvh(clip, Convention()))
    lines = bvh(clip, Convention()).decode().split("\n")
    at = next(k for k, line in enumerate(lines) if line.strip() == f"JOINT {name}") + 2
    assert "OFFSET" in lines[at]
    lines[at] = "OFFSET 0 0 0"
    motion = _read(tmp_path / "b.bvh", "\n".join(lines).encode())
    degrees, path = apart(motion, expected, FIGURE)
    assert degrees < (0.1 if name not in ("LeftArm", "LeftHandIndex2") else 40)
    assert path < 1


@pytest.mark.parametrize("kind", ["no legs", "no ankles", "thighs as knees", "no length of thighs", "no length of shanks"])
def test_the_unit_of_a_skeleton_that_lacks_bones(kind: str) -> None:
    rest = {n: 100 * v for n, v in SOLVER.positions.items()}
    for side in ("left", "right"):
        if kind == "no length of thighs":
            rest[f"{side}_ankle"] = rest[f"{side}_ankle"] + rest[f"{side}_hip"] - rest[f"{side}_knee"]
            rest[f"{side}_knee"] = rest[f"{side}_hip"]
        elif kind == "no length of shanks":
            rest[f"{side}_ankle"] = rest[f"{side}_knee"]
        elif kind == "thighs as knees":
            rest[f"{side}_ankle"], rest[f"{side}_knee"] = rest[f"{side}_knee"] + 1, rest.pop(f"{side}_hip")
        else:
            for part in ("ankle", "foot") if kind == "no ankles" else ("hip", "knee", "ankle", "foot"):
                del rest[f"{side}_{part}"]
    assert scale_to_meters(SourceSkeleton("a", rest, {}, None, 30.0), SOLVER) == pytest.approx(0.01)


_TEXTS = {
    "utf-16 without a mark": lambda t: t.encode("utf-16-le"),
    "lower case, tabs and old line ends": lambda t: t.lower().replace(" ", "\t").replace("frame\ttime", "frame time").replace(
        "end\tsite", "end site").replace("\n", "\r").encode(),
    "blank lines first and nothing after the last number": lambda t: ("\n\n" + t.rstrip()).encode(),
    "no space after the colons": lambda t: t.replace(": ", ":").encode(),
    "commas between numbers": lambda t: t.partition("MOTION")[0].encode() + b"MOTION" + t.partition("MOTION")[2].replace(
        " ", ", ").replace("Frame, Time:, ", "Frame Time: ").replace("Frames:, ", "Frames: ").encode(),
    "a comment after MOTION": lambda t: t.replace("MOTION\n", "MOTION # start\n").encode(),
    "decimal commas and points in names": lambda t: "\n".join(
        line + ".001" if "JOINT" in line or "ROOT" in line else line.replace(".", ",") for line in t.split("\n")
    ).encode(),
    "frames on several lines": lambda t: _by_frame(t, lambda row: row.replace(" ", "\n", 7)),
    "frames that share a line": lambda t: _by_frame(t, lambda row: row + " ", ""),
}  # fmt: skip


def _by_frame(text: str, change: Callable[[str], str], between: str = "\n") -> bytes:
    lines = text.rstrip("\n").split("\n")
    first = next(k for k, line in enumerate(lines) if line.startswith("Frame Time")) + 1
    return ("\n".join(lines[:first]) + "\n" + between.join(map(change, lines[first:])) + "\n").encode()


def _two_people(text: str) -> bytes:
    head, mark, frames = text.partition("MOTION")
    doubled = _by_frame(mark + frames, lambda row: f"{row} {row}").decode()
    return (head + head.replace("HIERARCHY\n", "") + doubled).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_two_people, "contains more than one skeleton"),
        (lambda t: _by_frame(t, lambda row: row + " 0"), r"has \d+ channels but a frame of \d+ numbers"),
        (lambda t: t.rstrip().encode() + b" 0\n", r"has \d+ channels but a frame of \d+ numbers"),
    ],
)
def test_frames_of_another_skeleton_are_refused(change: Callable[[str], bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "a.bvh", change(bvh(_still(), Convention()).decode()))


@pytest.mark.parametrize("kind", _TEXTS)
def test_texts_of_other_programs(kind: str, tmp_path: Path) -> None:
    clip = make_clip(9)
    expected = _read(tmp_path / "a.bvh", bvh(clip, Convention()))
    motion = _read(tmp_path / "b.bvh", _TEXTS[kind](bvh(clip, Convention()).decode()))
    assert apart(motion, expected, FIGURE) == pytest.approx((0, 0), abs=1e-3)


def test_bones_without_any_length_are_one_sentence_or_fine(tmp_path: Path) -> None:
    text = bvh(make_clip(6), Convention()).decode()
    head, mark, frames = text.partition("MOTION")
    lines = ["OFFSET 0 0 0" if "OFFSET" in line else line for line in head.split("\n")]
    with pytest.raises(InputError, match=r"a\.bvh contains bones or rotations that are impossible"):
        _read(tmp_path / "a.bvh", ("\n".join(lines) + mark + frames).encode())


def test_an_unknown_skeleton_names_what_it_lacks_and_a_map_helps(tmp_path: Path) -> None:
    clip = make_clip(7)
    expected = _read(tmp_path / "a.bvh", bvh(clip, Convention()))
    text = bvh(clip, Convention()).decode()
    names = rig_names("Mixamo")
    numbers = {n: f"Bone{k}" for k, n in enumerate(names)}
    for ours, theirs in sorted(names.items(), key=lambda item: -len(item[1])):
        text = text.replace(f" {theirs}\n", f" {numbers[ours]}\n")
    with pytest.raises(InputError, match="recognized as the left shoulder or the left elbow or the right"):
        _read(tmp_path / "b.bvh", text.encode())
    (tmp_path / "map.json").write_text(json.dumps(numbers))
    motion = _read(tmp_path / "b.bvh", text.encode(), joint_map=read_joint_map(tmp_path / "map.json"))
    degrees, path = apart(motion, expected, FIGURE)
    assert degrees < 0.1
    assert path < 1


@pytest.mark.parametrize(
    ("unknown", "what"),
    [
        (("LeftLeg",), "left knee"), (("LeftLeg", "RightLeg"), "left knee or the right knee"), (("LeftHand",), "left wrist"),
        (("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase"), "left leg"), ((), ""),
        (("LeftToeBase", "LeftShoulder", "Spine1"), ""),
    ],
)  # fmt: skip
def test_missing_limbs_and_joints_between_found_ones_are_said(unknown: tuple[str, ...], what: str, tmp_path: Path) -> None:
    text = bvh(make_clip(2), Convention()).decode()
    for k, name in enumerate(unknown):
        text = text.replace(f"JOINT {name}\n", f"JOINT Bone{k}\n")
    (tmp_path / "a.bvh").write_text(text)
    _, info = inspect_motion(tmp_path / "a.bvh", FIGURE)  # type: ignore[arg-type]
    said = [note for note in info.notes if "recognized" in note]
    message = f"a.bvh has no joint that is recognized as the {what}; if it has them, map its joints with --joint-map FILE."
    assert said == ([message] if what else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not a joint map"), ("{", "is not a joint map"), ("{}", "is not a joint map"),
        ('{"left_elbow": 3}', "is not a joint map"), ("[" * 100_000, "is not a joint map"), ("\xff", "is not a joint map"),
        ('{"elbow": "LeftArm"}', "'elbow', which is no joint of SMPL-X"), ('{"left_elbow": "Arm9"}', "no joint of that name"),
    ],
)  # fmt: skip
def test_a_bad_joint_map_is_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "a.bvh", bvh(_still(), Convention()), joint_map=read_joint_map(tmp_path / "map.json"))


# ---------------------------------------------------------------------------------------------------------------- fields


def test_hands_eyes_and_jaw_are_read_under_the_names_of_the_package_smplx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = 0.3 * rng.standard_normal((4, 165))
    whole = _npz(tmp_path / "a.npz", poses=poses)
    parts = {
        "global_orient": poses[:, :3], "body_pose": poses[:, 3:66], "jaw_pose": poses[:, 66:69], "leye_pose": poses[:, 69:72],
        "reye_pose": poses[:, 72:75], "left_hand_pose": poses[:, 75:120], "right_hand_pose": poses[:, 120:],
    }  # fmt: skip
    split = _npz(tmp_path / "b.npz", **parts)
    assert apart(split, whole, FIGURE)[0] < 1e-3
    assert torch.equal(split.params.expression, whole.params.expression)


_SIX = {
    "rows": lambda R: R[..., :2, :].reshape(*R.shape[:2], 6),
    "columns": lambda R: R[..., :2].swapaxes(-1, -2).reshape(*R.shape[:2], 6),
    "interleaved": lambda R: R[..., :2].reshape(*R.shape[:2], 6),
    "two rows": lambda R: R[..., :2, :],
    "two columns": lambda R: R[..., :2],
}


@pytest.mark.parametrize("bent", ["knees", "arms"])
@pytest.mark.parametrize("layout", _SIX)
def test_six_numbers_of_a_person_who_stands_nearly_straight(layout: str, bent: str, tmp_path: Path) -> None:
    poses = np.zeros((4, 55, 3))
    for side, sign in (("left", -1), ("right", 1)):
        if bent == "knees":
            poses[:, SMPLX_JOINTS.index(f"{side}_knee"), 0] = 0.04
        else:
            poses[:, SMPLX_JOINTS.index(f"{side}_shoulder"), 2] = 1.2 * sign
            poses[:, SMPLX_JOINTS.index(f"{side}_knee"), 0] = -0.01
    expected = _npz(tmp_path / "a.npz", poses=poses)
    R = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(4, 55, 3, 3)
    assert apart(_npz(tmp_path / "b.npz", poses=_SIX[layout](R)), expected, FIGURE)[0] < 0.1


def test_six_numbers_that_may_be_rows_or_columns_are_said(tmp_path: Path) -> None:
    lean = Rotation.from_euler("x", [[10], [11], [12]], degrees=True).as_matrix().reshape(3, 1, 3, 3)
    arrays = {"global_orient": _SIX["columns"](lean), "body_pose": np.zeros((3, 63)), "fps": 30.0}
    np.savez(tmp_path / "a.npz", **arrays)
    _, info = inspect_motion(tmp_path / "a.npz", FIGURE)  # type: ignore[arg-type]
    assert any("the poses do not tell which, and rows are assumed" in note for note in info.notes)


@pytest.mark.parametrize("width", [6, 12])
def test_pca_hands_are_one_sentence_unless_they_rest(width: int, tmp_path: Path) -> None:
    body = {"global_orient": np.zeros((4, 3)), "body_pose": np.zeros((4, 63)), "left_hand_pose": np.zeros((4, width))}
    _npz(tmp_path / "a.npz", **body)
    with pytest.raises(InputError, match=f"'right_hand_pose' has {width} numbers per frame, PCA components of a hand"):
        _npz(tmp_path / "b.npz", **body, right_hand_pose=np.ones((4, width)))


_ZEROS = np.zeros((4, 165))
_ODD: dict[str, tuple[dict[str, object], str]] = {
    "a body of another width": ({"body_pose": np.zeros((4, 64))}, r"'body_pose' has the shape \(4, 64\)"),
    "a wider jaw": ({"poses": _ZEROS, "jaw_pose": np.zeros((4, 5))}, r"'jaw_pose' has the shape \(4, 5\)"),
    "a scalar": ({"poses": np.float64(3)}, "'poses' contains no rotations per frame"),
    "a text": ({"poses": "standing"}, "'poses' contains no rotations per frame"),
    "texts": ({"body_pose": np.array([["a", "b"]] * 4)}, "'body_pose' contains no rotations per frame"),
    "a scalar beside": ({"poses": _ZEROS, "jaw_pose": np.float64(1)}, "'jaw_pose' contains no rotations per frame"),
    "a text beside": ({"poses": _ZEROS, "jaw_pose": "open"}, "'jaw_pose' contains no rotations per frame"),
    "fewer frames": ({"poses": _ZEROS, "jaw_pose": np.ones((3, 3))}, r"'jaw_pose' has the shape \(3, 3\)"),
    "no rotations": ({"body_pose": np.ones((4, 21, 3, 3))}, "'body_pose' contains matrices that are no rotations"),
    "mirrors": ({"body_pose": np.tile(-np.eye(3), (4, 21, 1, 1))}, "'body_pose' contains matrices that are no rotations"),
    "a scalar place": ({"poses": _ZEROS, "trans": np.float64(1)}, "translations that do not match"),
    "a text as place": ({"poses": _ZEROS, "trans": "here"}, "translations that do not match"),
}  # fmt: skip


@pytest.mark.parametrize("kind", _ODD)
def test_fields_of_other_shapes_are_one_sentence(kind: str, tmp_path: Path) -> None:
    arrays, message = _ODD[kind]
    with pytest.raises(InputError, match=message) as error:
        _npz(tmp_path / "odd.npz", **arrays)
    assert "odd.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_fields_that_are_not_needed_may_hold_anything(tmp_path: Path) -> None:
    _npz(tmp_path / "a.npz", poses=_ZEROS, expressions=np.float64(0), betas="tall", gender=3)
    _npz(tmp_path / "b.npz", poses=_ZEROS, jaw_pose=np.zeros((1, 3)))  # one for all frames


# --------------------------------------------------------------------------------------------------------- other formats


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(99), "is an FBX file. Convert it in Blender"),
        (b"; FBX 7.4.0 project file\n", "is an FBX file. Convert it in Blender"),
        (b"\x93NUMPY\x01\x00", "is a single array without a frame rate"),
        (b"Vocaloid Motion Data 0002" + bytes(20), "is a VMD file. Convert it in Blender"),
    ],
)
def test_other_formats_say_how_to_convert_them(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "a.bin", content)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_never_run(protocol: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a Python pickle, which could run code"):
        _read(tmp_path / "a.pkl", pickle.dumps(_Evil(tmp_path / "made"), protocol))
    with pytest.raises(InputError):
        _npz(tmp_path / "b.npz", poses=np.array([_Evil(tmp_path / "made")], dtype=object))
    assert not (tmp_path / "made").exists()


def test_what_was_understood_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "walk.bvh"
    clip = make_clip(3)
    path.write_bytes(bvh(clip, Convention(prefix="mixamorig:", axes=np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))))
    motion, info = inspect_motion(path, FIGURE)  # type: ignore[arg-type]
    assert (info.format, info.rig, info.up.axis, info.unit, info.missing) == ("BVH", "Mixamo", "z", "cm", ())
    assert info.joints["left_elbow"] == "mixamorig:LeftForeArm"
    assert motion.moves == {"legs", "trunk", "head"}


def _glb_with(change: object, content: bytes) -> bytes:
    """Return a GLB file whose JSON was changed."""
    import struct

    size = struct.unpack_from("<I", content, 12)[0]
    data = json.loads(content[20 : 20 + size])
    change(data)  # type: ignore[operator]
    text = json.dumps(data).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    return struct.pack("<4s2I", b"glTF", 2, 20 + len(text) + len(rest)) + struct.pack("<2I", len(text), 0x4E4F534A) + text + rest


_BROKEN = {
    "no animation": (lambda d: d.pop("animations"), "has no animation"),
    "no channels": (lambda d: d["animations"][0].update(channels=[]), "without movement"),
    "a circle": (lambda d: d["nodes"][3].update(children=[1]), "is a damaged glTF file"),
    "two parents": (lambda d: d["nodes"][0].update(children=[1, 2]), "is a damaged glTF file"),
    "a child that is not there": (lambda d: d["nodes"][5].update(children=[10**9]), "is a damaged glTF file"),
    "nodes of another kind": (lambda d: d.update(nodes="many"), "is a damaged glTF file"),
    "an accessor beyond its view": (lambda d: d["accessors"][0].update(count=10**6), "is a damaged glTF file"),
    "an accessor of 10^12": (lambda d: d["accessors"][0].update(count=10**12), "is a damaged glTF file"),
    "a view beyond its buffer": (lambda d: d["bufferViews"][0].update(byteOffset=10**9), "is a damaged glTF file"),
    "a negative offset": (lambda d: d["bufferViews"][0].update(byteOffset=-4), "is a damaged glTF file"),
    "a stride of one": (lambda d: d["bufferViews"][1].update(byteStride=1), "is a damaged glTF file"),
    "a sparse accessor": (lambda d: d["accessors"][0].update(sparse={}), "is a damaged glTF file"),
    "an unknown type": (lambda d: d["accessors"][0].update(type="VEC9"), "is a damaged glTF file"),
    "times as rotations": (lambda d: d["animations"][0]["samplers"][1].update(output=0), "is a damaged glTF file"),
    "no sampler": (lambda d: d["animations"][0].update(samplers=[]), "is a damaged glTF file"),
    "no scale": (lambda d: d["nodes"][0].update(scale=[0, 0, 0]), "is a damaged glTF file"),
    "no rotation": (lambda d: d["nodes"][0].update(rotation=[0, 0, 0, 0]), "is a damaged glTF file"),
    "not a number": (lambda d: d["nodes"][0].update(translation=["a", 0, 0]), "is a damaged glTF file"),
    "a buffer elsewhere": (lambda d: d["buffers"][0].update(uri="../secret.bin"), "another folder or on the network"),
    "a buffer on the network": (lambda d: d["buffers"][0].update(uri="http://a.example/b.bin"), "another folder or on the net"),
    "a missing buffer": (lambda d: d["buffers"][0].update(uri="none.bin"), "There is no file, which odd.glb needs"),
    "an unknown skeleton": (lambda d: [n.update(name=f"b{k}") for k, n in enumerate(d["nodes"])], "map its joints"),
    "a wrong skin": (lambda d: d["skins"][0].update(joints=[1, 2]), "impossible for a body"),
}


def _prop_first(data: dict[str, object]) -> None:
    animations, nodes = data["animations"], data["nodes"]
    assert isinstance(animations, list)
    assert isinstance(nodes, list)
    nodes.append({"name": "Cube"})
    sampler = next(c["sampler"] for c in animations[0]["channels"] if c["target"]["path"] == "translation")
    channel = {"sampler": 0, "target": {"node": len(nodes) - 1, "path": "translation"}}
    prop = {"name": "spin", "samplers": [animations[0]["samplers"][sampler]], "channels": [channel]}
    animations[0]["name"] = "walk"
    animations[:0] = [{"name": "empty", "samplers": [], "channels": []}, prop]


def test_the_first_animation_that_moves_the_person_is_played(tmp_path: Path) -> None:
    content = glb(make_clip(3), skin=False)
    expected = _read(tmp_path / "a.glb", content)
    (tmp_path / "b.glb").write_bytes(_glb_with(_prop_first, content))
    motion, info = inspect_motion(tmp_path / "b.glb", FIGURE)  # type: ignore[arg-type]
    assert apart(motion, expected, FIGURE) == pytest.approx((0, 0), abs=1e-3)
    assert "b.glb has 3 animations; number 3 (walk) is played." in info.notes


@pytest.mark.parametrize("kind", _BROKEN)
def test_a_broken_gltf_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    change, message = _BROKEN[kind]
    with pytest.raises(InputError, match=message) as error:
        _read(tmp_path / "odd.glb", _glb_with(change, glb(make_clip(1))))
    assert "odd.glb" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [4, 12, 19, 40, 3000, -100])
def test_a_gltf_file_that_is_cut_short_is_one_sentence(length: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"odd\.glb is a damaged glTF file"):
        _read(tmp_path / "odd.glb", glb(make_clip(1))[:length])


def test_a_gltf_file_with_its_data_beside_it(tmp_path: Path) -> None:
    content = glb(make_clip(1))
    expected = _read(tmp_path / "a.glb", content)
    size = int.from_bytes(content[12:16], "little")
    data = json.loads(content[20 : 20 + size])
    data["buffers"][0]["uri"] = "my%20data.bin"
    (tmp_path / "my data.bin").write_bytes(content[28 + size :])
    motion = _read(tmp_path / "a.gltf", json.dumps(data).encode())
    assert apart(motion, expected, FIGURE) == pytest.approx((0, 0), abs=1e-4)
