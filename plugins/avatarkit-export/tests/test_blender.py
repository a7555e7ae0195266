"""Blender imports our GLB, VRM and BVH: as we moved them, and with our colors.

``BLENDER`` names a Blender, or a Python that has the package bpy, if neither is found by itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatarkit.interfaces import AvatarModel, BodyModel, Context, Posed
from avatarkit.motion.files import write_bvh
from avatarkit.registry import Registry
from avatarkit.testing import tiny_motion
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import Mesh

SCRIPT = Path(__file__).with_name("blender_scene.py")


def command() -> list[str]:
    """Return how a script is run inside Blender; nothing without one."""
    program = os.environ.get("BLENDER") or shutil.which("blender")
    if program and "blender" in Path(program).name.lower():
        return [program, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCRIPT), "--"]
    if program or importlib.util.find_spec("bpy"):
        return [program or sys.executable, str(SCRIPT)]
    return []


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not command(), reason="neither Blender nor bpy is installed")]


def in_blender(file: Path, seconds: float) -> tuple[dict[str, Any], np.ndarray]:
    """Return what a file is in Blender at a time, in avatarkit's axes, and a picture (H, W, 4), 0 to 1."""
    result, picture = file.with_suffix(".json"), file.with_suffix(".png")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # bpy may be one of another Python
    run = [*command(), str(file), str(seconds), str(result), str(picture)]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(result.read_text(encoding="utf-8"))
    for key in ("vertices", "bones"):
        points = found.get(key, [])
        named = dict(zip(points, y_up(list(points.values())), strict=True)) if key == "bones" else y_up(points)
        found[key] = named
    return found, np.array(Image.open(picture)) / 255 if picture.exists() else np.zeros((0, 0, 4))


def y_up(points: list[list[float]]) -> np.ndarray:
    """Turn Blender's axes (z up, front -y) into ours (y up, front +z)."""
    at = np.array(points).reshape(-1, 3)
    return np.stack([at[:, 0], at[:, 2], -at[:, 1]], 1)


@pytest.fixture(scope="module")
def anny(registry: Registry) -> BodyModel:
    return registry.get("body", "anny").create({}, Context())


def test_a_glb_moves_and_looks_as_here(
    registry: Registry, context: Context, avatar: AvatarModel, params: BodyParams, tmp_path: Path
) -> None:
    file, motion = tmp_path / "tiny.glb", tiny_motion()
    registry.get("exporter", "glb").create({"texture": 128}, context).write(avatar, params, file)
    body, last = context.get("body"), len(motion) - 1
    found, picture = in_blender(file, last / motion.fps)
    assert found["actions"] == ["tiny"]
    assert set(body.expression_names) <= set(found["shapes"])
    p = motion.params[last]
    p = replace(p, shape=params.shape, translation=p.translation + body.skeleton(params.shape).positions[0])
    expected = body.vertices(p, avatar.pose(params).fields["dT"].detach())[0].numpy()
    expected[:, 1] -= body.rest(params.shape, torch.zeros(1, len(body.expression_names)))[0, :, 1].min().item()
    apart = np.linalg.norm(found["vertices"][:, None] - expected[None], axis=2)
    assert max(apart.min(1).max(), apart.min(0).max()) < 1e-3

    inside = picture[..., 3] > 0.99
    assert 0.03 < inside.mean() < 0.9
    colors = avatar.pose(params).gaussians.colors.detach().numpy()
    assert np.abs(picture[inside][:, :3].mean(0) - colors.mean(0)).max() < 0.15
    assert picture[inside][:, :3].std(0).max() > 0.02


def test_a_vrm_is_a_skinned_body_in_a_t_pose(registry: Registry, anny: BodyModel, tmp_path: Path) -> None:
    class Doll:
        def pose(self, params: BodyParams) -> Posed:
            vertices = anny.vertices(params)[0]
            one = torch.ones(len(vertices))
            red = torch.tensor([0.9, 0.2, 0.1]).expand(len(vertices), 3)
            mesh = Mesh(vertices, anny.faces)
            return Posed(Gaussians(vertices, 0.01 * one, red, one), mesh, {"dT": torch.zeros_like(vertices)})

        def state(self) -> dict[str, torch.Tensor]:
            return {}

    context = replace(Context(), get=lambda slot, name=None: anny)
    file = tmp_path / "ada.vrm"
    registry.get("exporter", "vrm").create({"texture": 64}, context).write(Doll(), anny.neutral(), file)
    found, picture = in_blender(file.rename(tmp_path / "ada.glb"), 0.0)  # Blender knows VRM as the glTF that it is
    vertices = found["vertices"]
    width, height, depth = np.ptp(vertices, axis=0)
    assert 0.9 * height < width < 1.2 * height  # arms apart
    assert depth < 0.3 * height
    assert abs(vertices[:, 1].min()) < 0.01
    assert {"jawOpen", "eyeBlinkLeft"} <= set(found["shapes"])
    nose = vertices[(vertices[:, 1] > 0.9 * height) & (abs(vertices[:, 0]) < 0.03)][:, 2]
    assert nose.max() > -nose.min()  # faces the front
    inside = picture[..., 3] > 0.99
    assert np.abs(np.median(picture[inside][:, :3], 0) - [0.9, 0.2, 0.1]).max() < 0.03


def test_a_bvh_moves_as_here(anny: BodyModel, tmp_path: Path) -> None:
    motion: Motion = tiny_motion(anny)
    file, last = tmp_path / "tiny.bvh", len(motion) - 1
    write_bvh(motion, anny, file)
    found, _ = in_blender(file, last / motion.fps)
    p = motion.params[last].batched()
    skeleton = anny.skeleton(p.shape)
    A = anny.joint_transforms(skeleton, p.root, p.translation, p.joints)[0]
    expected = ((A[:, :3, :3] @ skeleton.positions[..., None])[..., 0] + A[:, :3, 3]).numpy()
    at = np.stack([found["bones"][name] for name in anny.joint_names])
    assert np.abs((at - at[0]) - (expected - expected[0])).max() < 2e-3
    assert abs(at[:, 1].min()) < 0.1  # soles are at height zero
    still, _ = in_blender(file, 0.0)
    assert max(np.linalg.norm(found["bones"][n] - still["bones"][n]) for n in anny.joint_names) > 0.05
