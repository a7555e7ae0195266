"""VRM 1.0: the GLB with humanoid bones in a T-pose and expressions (VRMC_vrm-1.0 specification)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import PluginError
from avatarkit.interfaces import AvatarModel, Context
from avatarkit.motion.visemes import viseme_actions
from avatarkit.types.body import BodyParams
from avatarkit.utils.text import one_line
from avatarkit_export.config import VrmConfig
from avatarkit_export.files import check_options, check_suffix, provenance, write_file
from avatarkit_export.formats import humanoid_joints, missing_bone, what_works
from avatarkit_export.glb import RiggedGltf, rigged_gltf
from avatarkit_export.rigging.skeleton import t_pose

__all__ = ["VrmExporter"]

# VRM's preset expressions from ARKit's; "..." at an end stands for both sides.
_PRESETS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile...": 0.9, "cheekSquint...": 0.5, "eyeSquint...": 0.3},
    "angry": {"browDown...": 1.0, "mouthFrown...": 0.5, "noseSneer...": 0.5, "mouthPress...": 0.4},
    "sad": {"browInnerUp": 1.0, "mouthFrown...": 0.8, "eyeSquint...": 0.2},
    "relaxed": {"mouthSmile...": 0.4, "eyeBlink...": 0.25},
    "surprised": {"browInnerUp": 0.8, "browOuterUp...": 0.8, "eyeWide...": 0.7, "jawOpen": 0.4},
    "blink": {"eyeBlink...": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUp...": 1.0},
    "lookDown": {"eyeLookDown...": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "neutral": {},
}
_VOWELS = {"aa": "aa", "ih": "ih", "ou": "ou", "ee": "E", "oh": "oh"}  # VRM's presets -> visemes


class VrmExporter:
    """VRM 1.0 of the mesh: humanoid bones, preset expressions, ARKit's actions as custom ones."""

    def __init__(self, config: VrmConfig, context: Context) -> None:
        self.config, self.context = config, context

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """See ``Exporter.write``; of ``params`` only the shape counts.

        Args:
            avatar: with a mesh on its body model.
            params: of the person.
            path: ends in .vrm.
            options: ``consent``, what the person agreed to.

        Raises:
            ConfigError, InputError, StoreError: unknown option; wrong suffix; disk.
            PluginError: the avatar has no mesh, or its body model lacks bones of a human.
        """
        check_options("vrm", options)
        check_suffix(path, ".vrm")
        body = self.context.get("body")
        if missing := missing_bone(body):
            works = what_works(avatar, params, body)
            raise PluginError(f"The body model {body.name!r} has no {missing}, which VRM requires. {works}")
        bones = humanoid_joints(body)
        made = rigged_gltf(avatar, params, self.config, self.context, options)
        nodes = made.gltf.document["nodes"]
        for joint, turn in t_pose(bones, made.rig.body.parents, made.rig.joint_positions).items():
            nodes[made.joint_nodes[joint]]["rotation"] = turn.as_quat().tolist()
        made.gltf.document["extensionsUsed"].append("VRMC_vrm")
        made.gltf.document["extensions"] = {
            "VRMC_vrm": {
                "specVersion": "1.0",
                "meta": _meta(path.stem, provenance(options)),
                "humanoid": {"humanBones": {name: {"node": made.joint_nodes[j]} for name, j in bones.items()}},
                "expressions": _expressions(made),
                "lookAt": _look_at(made.rig.joint_positions, bones),
            }
        }
        write_file(path, *made.gltf.glb())


def _meta(name: str, words: str) -> dict[str, Any]:
    """Return the strictest terms of the format: showing a person's likeness needs consent."""
    return {
        "name": one_line(name) or "avatar",
        "authors": ["avatarkit"],
        "copyrightInformation": words,
        "licenseUrl": "https://vrm.dev/licenses/1.0/",
        "avatarPermission": "onlyAuthor",
        "commercialUsage": "personalNonProfit",
        "creditNotation": "required",
        "modification": "prohibited",
        "allowRedistribution": False,
        "allowExcessivelyViolentUsage": False,
        "allowExcessivelySexualUsage": False,
        "allowPoliticalOrReligiousUsage": False,
        "allowAntisocialOrHateUsage": False,
    }


def _expressions(made: RiggedGltf) -> dict[str, Any]:
    """Return presets from the shapes that the body model has, and each shape as a custom expression."""
    number = {name: i for i, name in enumerate(made.rig.body.expression_names)}

    def binds(recipe: dict[str, float]) -> list[dict[str, Any]]:
        out = []
        for name, weight in recipe.items():
            stem = name.removesuffix("...")
            for shape in (stem,) if stem == name else (f"{stem}Left", f"{stem}Right"):
                if shape in number:
                    out.append({"node": made.mesh_node, "index": number[shape], "weight": weight})
        return out

    visemes = viseme_actions()
    recipes = _PRESETS | {name: visemes[viseme] for name, viseme in _VOWELS.items()}
    preset = {name: {"morphTargetBinds": binds(recipe)} for name, recipe in recipes.items()}
    preset = {name: item if item["morphTargetBinds"] else {} for name, item in preset.items()}
    return {"preset": preset, "custom": {name: {"morphTargetBinds": binds({name: 1.0})} for name in number}}


def _look_at(positions: np.ndarray, bones: dict[str, int]) -> dict[str, Any]:
    eyes = [positions[bones[name]] for name in ("leftEye", "rightEye") if name in bones]
    offset = np.mean(eyes, axis=0) - positions[bones["head"]] if eyes else np.array([0.0, 0.06, 0.0])
    straight = {"inputMaxValue": 30.0, "outputScale": 1.0}  # degrees of gaze at which ARKit's shapes are full
    ranges = ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
    return {"type": "expression", "offsetFromHeadBone": offset.tolist(), **{f"rangeMap{r}": straight for r in ranges}}
