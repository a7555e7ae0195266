"""Motions from folders: files of all kinds, and clips of the TED Gesture Dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.motion.files import read_motion, save_motion, write_bvh
from avatarkit.types.body import Motion
from avatarkit_cli.main import app


def _heading(motion: Motion) -> tuple[float, float, float]:
    """Mean yaw, pitch and roll of the root in degrees."""
    left, up, ahead = axis_angle_to_matrix(motion.params.root.double()).mean(0).T.numpy()
    yaw, pitch = np.arctan2(ahead[0], ahead[2]), np.arctan2(-ahead[1], np.linalg.norm(ahead[[0, 2]]))
    return tuple(float(np.degrees(a)) for a in (yaw, pitch, np.arctan2(left[1], up[1])))


@pytest.fixture
def folder(tmp_path: Path, body, source) -> Path:
    (tmp_path / "deep").mkdir()
    save_motion(source.motion("turn"), body, tmp_path / "turn.npz")
    write_bvh(source.motion("talk"), body, tmp_path / "deep" / "talk.bvh")
    (tmp_path / "broken.bvh").write_text("HIERARCHY")
    (tmp_path / "notes.txt").write_text("not a motion")
    return tmp_path


def test_a_folder_gives_its_files_and_the_built_in_motions(folder, build, source):
    motions = build(use="folder", path=str(folder)).get("motions")
    assert motions.names() == (*source.names(), "broken.bvh", "deep/talk.bvh", "turn.npz")
    assert len(motions.motion("deep/talk.bvh")) == len(source.motion("talk"))
    assert torch.equal(motions.motion("wave").params.joints, source.motion("wave").params.joints)
    assert motions.describe("wave") == source.describe("wave")
    assert "MB" in motions.describe("turn.npz")
    with pytest.raises(InputError, match="not a complete BVH"):
        motions.motion("broken.bvh")
    with pytest.raises(InputError, match="no built-in motion 'none'"):
        motions.motion("none")


def test_segments_of_files_are_turned_as_the_paper_does(folder, build, caplog):
    motions = build(use="folder", path=str(folder), label_seconds=2.0, fps=15).get("motions")
    clips = list(motions.motions(12, seed=4))
    assert "broken.bvh is not a complete BVH" in caplog.text
    assert {c.name.split("-")[0] for c in clips} == {"turn", "talk"}
    headings = np.array([_heading(c) for c in clips])
    assert (np.abs(headings[:, 0]) <= 10.5).all()
    assert (np.abs(headings[:, 1]) <= 30.5).all()
    assert headings[:, 1].std() > 8
    assert (np.abs(headings[:, 2]) < 8).all()
    for clip in clips:
        assert (len(clip), clip.fps) == (30, pytest.approx(15))
        assert clip.params.translation.norm(dim=-1).max() <= 0.1501
    again = list(motions.motions(3, seed=4))
    assert all(torch.equal(a.params.root, b.params.root) for a, b in zip(again, clips, strict=False))
    other = next(iter(motions.motions(1, seed=5)))
    assert not torch.equal(other.params.root, clips[0].params.root)


def test_a_folder_that_is_missing_or_empty(tmp_path, build, source):
    motions = build(use="folder", path=str(tmp_path / "none")).get("motions")
    assert motions.names() == source.names()  # an avatar on another machine
    with pytest.raises(InputError, match="There is no folder"):
        next(iter(motions.motions(1, 0)))
    unsaid = build(use="folder").get("motions")
    assert unsaid.names() == source.names()
    with pytest.raises(InputError, match=r"--set motions\.path=FOLDER"):
        next(iter(unsaid.motions(1, 0)))
    with pytest.raises(InputError, match="no motion files"):
        next(iter(build(use="folder", path=str(tmp_path)).get("motions").motions(1, 0)))


def _person(lift: float) -> dict[str, list[float]]:
    """OpenPose's points of somebody whose left hand is lifted by that many pixels."""
    body = np.zeros((25, 3))
    body[[2, 3, 4, 5, 6, 7]] = [
        (240, 200, 0.9), (228, 300, 0.9), (228, 390, 0.9), (360, 200, 0.9), (400, 290 - lift / 2, 0.9), (440, 360 - lift, 0.9)
    ]  # fmt: skip
    face = np.zeros((70, 3))
    for k, xy in {36: (280, 120), 45: (320, 120), 30: (300, 135), 62: (300, 150), 66: (300, 150)}.items():
        face[k] = (*xy, 0.8)
    return {"pose_keypoints_2d": body.ravel().tolist(), "face_keypoints_2d": face.ravel().tolist()}


def _clips(path: Path) -> None:
    def clip(start: int, frames: int, passed: bool) -> dict:
        people = [_person(200 * np.sin(k / 12) ** 2) if k != 7 else [] for k in range(frames)]
        return {"clip_info": [start, start + frames, passed], "frames": people}

    path.write_text(json.dumps([clip(0, 60, False), clip(100, 100, True), clip(300, 5, True), clip(400, 75, True)]))


def test_ted_clips_become_motions(tmp_path, build, body):
    _clips(tmp_path / "abcdefghijk.json")
    (tmp_path / "abcdefghijk_aux_info.json").write_text("[]")
    motions = build(use="ted", path=str(tmp_path), label_seconds=2.0).get("motions")
    assert motions.names()[-1] == "abcdefghijk"
    assert motions.describe("abcdefghijk") == "2 clips"
    motion = motions.motion("abcdefghijk")
    assert (len(motion), motion.fps) == (100, 25.0)
    assert len(motions.motion("abcdefghijk#2")) == 75
    p = motion.params
    skeleton = body.skeleton(p.shape)
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    j = body.joint_names.index("wrist.L")
    height = (A[:, j, :3, :3] @ skeleton.positions[j])[:, 1] + A[:, j, 1, 3]
    wanted = torch.tensor([np.sin(k / 12) ** 2 for k in range(100)])
    assert torch.corrcoef(torch.stack([height, wanted.float()]))[0, 1] > 0.95
    assert height.max() - height.min() > 0.2
    with pytest.raises(InputError, match="has 2 clips"):
        motions.motion("abcdefghijk#3")
    labels = list(motions.motions(4, seed=1))
    assert [(len(m), m.fps) for m in labels] == [(50, 25.0)] * 4
    assert all(abs(_heading(m)[1]) <= 30.5 for m in labels)


@pytest.mark.parametrize("text", ["{", "[1, 2]", '[{"clip_info": [0, 9, true], "frames": [{"pose_keypoints_2d": [1, 2]}]}]'])
def test_other_json_is_refused_in_a_sentence(text, tmp_path, build):
    (tmp_path / "video.json").write_text(text)
    motions = build(use="ted", path=str(tmp_path), video_fps=1).get("motions")
    with pytest.raises(InputError, match=r"video\.json is not a file of clips"):
        motions.motion("video")


def test_pickles_are_left_alone(tmp_path, build):
    (tmp_path / "ted_gesture_dataset_train.pickle").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="can run code"):
        next(iter(build(use="ted", path=str(tmp_path)).get("motions").motions(1, 0)))


@pytest.mark.parametrize("suffix", [".bvh", ".npz"])
def test_convert_writes_what_can_be_read(suffix, tmp_path, body, source):
    out = tmp_path / f"out{suffix}"
    result = CliRunner().invoke(app, ["motions", "convert", "nod", "-o", str(out), "--json"])
    assert result.exit_code == 0, result.output
    back, motion = read_motion(out, body), source.motion("nod")
    assert torch.allclose(body.vertices(back.params[40]), body.vertices(motion.params[40]), atol=1e-3) == (
        suffix == ".npz"
    )  # BVH files hold no faces
    still = torch.zeros_like(motion.params.expression)
    for motion_ in (back, motion):
        motion_.params.expression.copy_(still)
    apart = body.vertices(back.params[:: len(motion) // 5]) - body.vertices(motion.params[:: len(motion) // 5])
    assert apart.norm(dim=-1).max() < 1e-3
