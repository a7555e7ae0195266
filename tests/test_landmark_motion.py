"""``.pose`` files, written here byte by byte: what they say is what the body does."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.motion.files import read_motion
from avatarkit.motion.formats.pose_format import read_pose_file
from avatarkit.testing import TinyBody
from avatarkit.types.body import Motion

BODY = TinyBody()
POINTS = {  # pixels of somebody who stands with hanging arms; the person's left is on the right
    "LEFT_SHOULDER": (360, 200), "LEFT_ELBOW": (372, 300), "LEFT_WRIST": (372, 390),
    "RIGHT_SHOULDER": (240, 200), "RIGHT_ELBOW": (228, 300), "RIGHT_WRIST": (228, 390),
}  # fmt: skip
FACE = {"33": (280, 120), "263": (320, 120), "4": (300, 135), "13": (300, 150), "14": (300, 150)}


def _pose_file(path: Path, points: dict[str, np.ndarray], version: float = 0.2, people: int = 1) -> Path:
    """Writes tracks of points, "COMPONENT:POINT" -> (T, 2)."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value)) + value.encode()

    parts: dict[str, list[str]] = {}
    for name in points:
        parts.setdefault(name.split(":")[0], []).append(name.split(":")[1])
    data = struct.pack("<f4H", version, 640, 480, 0, len(parts))
    for name, members in parts.items():
        data += text(name) + text("XYC") + struct.pack("<3H", len(members), 1, 1) + b"".join(map(text, members))
        data += struct.pack("<5H", 0, 0, 255, 0, 0)  # a limb, a color
    values = np.stack(list(points.values()), 1)[:, None].repeat(people, 1)
    values[:, 1:] = -1  # somebody else
    T = len(values)
    data += struct.pack("<3H", 24, T, people) if version == 0.1 else struct.pack("<fIH", 24, T, people)
    path.write_bytes(data + values.astype("<f4").tobytes() + np.ones(values.shape[:3], "<f4").tobytes())
    return path


def _points(frames: int = 12) -> dict[str, np.ndarray]:
    still = {f"POSE_LANDMARKS:{n}": p for n, p in POINTS.items()} | {f"FACE_LANDMARKS:{n}": p for n, p in FACE.items()}
    return {n: np.tile(np.array(p, float), (frames, 1)) for n, p in still.items()}


def _arm(motion: Motion, side: str) -> torch.Tensor:
    """(T, 3) direction of an upper arm."""
    p = motion.params
    skeleton = BODY.skeleton(p.shape)
    A = BODY.joint_transforms(skeleton, p.root, p.translation, p.joints)
    at = (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]
    j = [BODY.joint_names.index(f"{side}_{n}") for n in ("shoulder", "elbow")]
    return torch.nn.functional.normalize(at[:, j[1]] - at[:, j[0]], dim=-1)


@pytest.mark.parametrize(("version", "people"), [(0.1, 1), (0.2, 1), (0.2, 2)])
def test_both_versions_hold_the_same_track_of_the_first_person(tmp_path: Path, version: float, people: int) -> None:
    points = _points()
    track = read_pose_file(_pose_file(tmp_path / "a.pose", points, version, people))
    assert track.names == tuple(points)
    assert track.fps == 24
    assert np.array_equal(track.points, np.stack(list(points.values()), 1).astype(np.float32))
    assert (track.scores == 1).all()


def test_a_raised_arm_is_raised_and_an_open_mouth_opens(tmp_path: Path) -> None:
    points = _points()
    points["POSE_LANDMARKS:LEFT_ELBOW"][6:] = (455, 170)
    points["POSE_LANDMARKS:LEFT_WRIST"][6:] = (540, 140)
    points["FACE_LANDMARKS:14"][6:, 1] += 12
    motion = read_motion(_pose_file(tmp_path / "wave.pose", points), BODY)
    assert (motion.name, motion.fps, len(motion)) == ("wave", 24.0, 12)
    left, right = _arm(motion, "left"), _arm(motion, "right")
    assert left[0, 1] < -0.8
    assert left[-1, 0] > 0.8
    assert left[-1, 1] > 0.1
    assert (right[:, 1] < -0.8).all()
    jaw = motion.params.expression[:, BODY.expression_names.index("jawOpen")]
    assert jaw[0] < 0.05
    assert jaw[-1] > 0.4


def test_a_point_that_is_lost_for_a_while_is_bridged(tmp_path: Path) -> None:
    path = _pose_file(tmp_path / "a.pose", _points())
    track = read_pose_file(path)
    data = bytearray(path.read_bytes())
    scores = np.frombuffer(bytes(data[-4 * track.scores.size :]), "<f4").reshape(track.scores.shape).copy()
    whole = read_motion(path, BODY).params.joints
    k = track.names.index("POSE_LANDMARKS:LEFT_WRIST")
    scores[4:7, k] = 0
    data[-4 * track.scores.size :] = scores.tobytes()
    path.write_bytes(data)
    torch.testing.assert_close(read_motion(path, BODY).params.joints, whole)


def test_without_shoulders_or_cut_short_it_is_refused_in_a_sentence(tmp_path: Path) -> None:
    points = {n: v for n, v in _points().items() if n.startswith("FACE")}
    with pytest.raises(InputError, match=r"a\.pose shows no shoulders"):
        read_motion(_pose_file(tmp_path / "a.pose", points), BODY)
    whole = _pose_file(tmp_path / "b.pose", _points()).read_bytes()
    for cut in (5, 40, 300, len(whole) - 9):
        (tmp_path / "b.pose").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"b\.pose is a damaged"):
            read_motion(tmp_path / "b.pose", BODY)
