"""Built-in motions written to files and read back, as the body's own skeleton and as somebody else's."""

import re
from pathlib import Path

import pytest
import torch

from avatarkit.interfaces import BodyModel
from avatarkit.motion.files import read_motion, save_motion, write_bvh
from avatarkit.types.body import Motion


def _positions(body: BodyModel, motion: Motion) -> torch.Tensor:
    p = motion.params
    skeleton = body.skeleton(p.shape)
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    return (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]


@pytest.mark.parametrize("name", ["talk-2", "turn"])
def test_npz_and_bvh_come_back_within_a_millimeter(name, body, source, tmp_path: Path):
    motion = source.motion(name)
    save_motion(motion, body, tmp_path / "m.npz")
    write_bvh(motion, body, tmp_path / "m.bvh")
    for file in ("m.npz", "m.bvh"):
        back = read_motion(tmp_path / file, body)
        assert back.fps == pytest.approx(30)
        assert (_positions(body, back) - _positions(body, motion)).norm(dim=-1).max() < 1e-3
    assert torch.equal(read_motion(tmp_path / "m.npz", body).params.expression, motion.params.expression)


def test_a_skeleton_of_another_make_brings_hands_to_the_same_place(body, source, tmp_path: Path):
    motion = source.motion("talk")
    write_bvh(motion, body, tmp_path / "own.bvh")
    text = (tmp_path / "own.bvh").read_text()
    names = {"root": "Hips", "head": "Head", "neck01": "Neck", "spine05": "Spine", "spine01": "Chest"}
    for side, s in (("Left", "L"), ("Right", "R")):
        names |= {
            f"clavicle.{s}": f"{side}Shoulder", f"upperarm01.{s}": f"{side}Arm", f"lowerarm01.{s}": f"{side}ForeArm",
            f"wrist.{s}": f"{side}Hand", f"upperleg01.{s}": f"{side}UpLeg", f"lowerleg01.{s}": f"{side}Leg",
            f"foot.{s}": f"{side}Foot",
        }  # fmt: skip
        for k, finger in enumerate(("Thumb", "Index", "Middle", "Ring", "Pinky"), start=1):
            names |= {f"finger{k}-{j}.{s}": f"{side}Hand{finger}{j}" for j in (1, 2, 3)}
    for ours, theirs in names.items():
        text, hits = re.subn(rf"(ROOT|JOINT) {re.escape(ours)}\n", rf"\1 {theirs}\n", text)
        assert hits == 1, ours
    (tmp_path / "theirs.bvh").write_text(text)
    back = read_motion(tmp_path / "theirs.bvh", body)
    apart = (_positions(body, back) - _positions(body, motion)).norm(dim=-1)
    for joint, most in (("head", 0.03), ("wrist.L", 0.03), ("wrist.R", 0.03), ("finger2-3.L", 0.04), ("foot.R", 0.03)):
        assert apart[:, body.joint_names.index(joint)].max() < most, joint
