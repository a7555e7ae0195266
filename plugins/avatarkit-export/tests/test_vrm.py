"""The VRM file: bones of a human in a T-pose, expressions that move the face."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarkit.errors import InputError, PluginError
from avatarkit.interfaces import AvatarModel, BodyModel, Context, Posed
from avatarkit.motion.visemes import viseme_actions
from avatarkit.registry import Registry
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh


class Doll:
    """The bare body model with a Gaussian on each vertex."""

    def __init__(self, body: BodyModel) -> None:
        self.body = body

    def pose(self, params: BodyParams) -> Posed:
        vertices = self.body.vertices(params)[0]
        one = torch.ones(len(vertices))
        colors = 0.5 + 0.5 * torch.nn.functional.normalize(vertices, dim=1)
        gaussians = Gaussians(vertices, 0.01 * one, colors, one)
        return Posed(gaussians, Mesh(vertices, self.body.faces), {"dT": torch.zeros_like(vertices)})

    def state(self) -> dict[str, torch.Tensor]:
        return {}


@pytest.fixture(scope="module")
def body(registry: Registry) -> BodyModel:
    return registry.get("body", "anny").create({}, Context())


@pytest.fixture(scope="module")
def file(registry: Registry, body: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> pygltflib.GLTF2:
    path = tmp_path_factory.mktemp("vrm") / "ada.vrm"
    context = replace(Context(), get=lambda slot, name=None: body)
    exporter = registry.get("exporter", "vrm").create({"texture": 64}, context)
    exporter.write(Doll(body), body.neutral(), path, consent="Ada: yes")
    return pygltflib.GLTF2.load_binary(str(path))


def test_the_bones_stand_in_a_t_pose(file: pygltflib.GLTF2) -> None:
    bones = {k: v["node"] for k, v in file.extensions["VRMC_vrm"]["humanoid"]["humanBones"].items()}
    assert len(set(bones.values())) == len(bones) >= 50
    at: dict[int, np.ndarray] = {}
    turned: dict[int, Rotation] = {}
    above: dict[int, int] = {}

    def walk(number: int, place: np.ndarray, turn: Rotation) -> None:
        node = file.nodes[number]
        at[number] = place + turn.apply(node.translation or [0, 0, 0])
        turned[number] = turn * Rotation.from_quat(node.rotation or [0, 0, 0, 1])
        for child in node.children or ():
            above[child] = number
            walk(child, at[number], turned[number])

    walk(file.skins[0].joints[0], np.zeros(3), Rotation.identity())

    def direction(a: str, b: str) -> np.ndarray:
        step = at[bones[b]] - at[bones[a]]
        return step / np.linalg.norm(step)

    for side, x in (("left", 1), ("right", -1)):
        arm = [f"{side}{b}" for b in ("UpperArm", "LowerArm", "Hand", "MiddleProximal")]
        leg = [f"{side}{b}" for b in ("UpperLeg", "LowerLeg", "Foot")]
        for chain, expected in ((arm, [x, 0, 0]), (leg, [0, -1, 0])):
            for a, b in pairwise(chain):
                assert np.allclose(direction(a, b), expected, atol=1e-5)
                number = bones[b]
                while number != bones[a]:  # a bone hangs below the one before it
                    number = above[number]
        assert turned[bones[f"{side}Foot"]].magnitude() < 1e-6
    assert direction("hips", "head")[1] > 0.95


def test_expressions_are_bound_to_the_shapes_that_they_name(file: pygltflib.GLTF2) -> None:
    expressions = file.extensions["VRMC_vrm"]["expressions"]
    names = file.meshes[0].extras["targetNames"]
    assert set(expressions["custom"]) == set(names) and len(names) == 52
    blink = {names[b["index"]]: b["weight"] for b in expressions["preset"]["blink"]["morphTargetBinds"]}
    assert blink == {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    assert set(expressions["preset"]) == {
        "happy", "angry", "sad", "relaxed", "surprised", "aa", "ih", "ou", "ee", "oh", "blink", "blinkLeft",
        "blinkRight", "lookUp", "lookDown", "lookLeft", "lookRight", "neutral",
    }  # fmt: skip
    for name, expression in expressions["preset"].items():
        assert (name == "neutral") == (not expression.get("morphTargetBinds"))
        assert all(file.nodes[b["node"]].mesh == 0 for b in expression.get("morphTargetBinds", ()))


def test_vowels_are_the_mouth_shapes_of_speech(file: pygltflib.GLTF2) -> None:
    names = file.meshes[0].extras["targetNames"]
    preset, shapes = file.extensions["VRMC_vrm"]["expressions"]["preset"], viseme_actions()
    for vowel, viseme in (("aa", "aa"), ("ih", "ih"), ("ou", "ou"), ("ee", "E"), ("oh", "oh")):
        assert {names[b["index"]]: b["weight"] for b in preset[vowel]["morphTargetBinds"]} == shapes[viseme]


def test_the_file_says_what_it_is(file: pygltflib.GLTF2) -> None:
    meta = file.extensions["VRMC_vrm"]["meta"]
    assert meta["name"] == "ada"
    assert meta["copyrightInformation"] == "synthetic, made with avatarkit; consent: Ada: yes"
    assert file.asset.extras["consent"] == "Ada: yes"


def test_what_cannot_be_written_is_one_sentence(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    exporter = registry.get("exporter", "vrm").create({}, context)
    with pytest.raises(PluginError, match="body model 'tiny' has no leftLowerLeg, which VRM requires"):
        exporter.write(avatar, params, tmp_path / "a.vrm")
    with pytest.raises(InputError, match="name it a.vrm"):
        exporter.write(avatar, params, tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())
