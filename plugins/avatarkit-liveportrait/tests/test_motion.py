"""Key-point rules against the numbers of the authors' program."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from avatarkit_liveportrait.model import build_networks
from avatarkit_liveportrait.motion import (
    LIPS_OPEN,
    FaceMotion,
    Rules,
    animate,
    eye_ratios,
    head_degrees,
    lip_ratio,
    retarget,
    rotation,
    stitch,
    transform,
)


@pytest.fixture(scope="module")
def vectors(load_golden, recipe):
    """Stitching, lip and eye networks."""
    _, meta = load_golden("formulas")
    networks = build_networks({})
    for name, seed in json.loads(meta["mlp_seed"]).items():
        networks[name].load_state_dict(recipe(networks[name], seed))
    return networks


def test_formulas(load_golden):
    data, _ = load_golden("formulas")
    torch.testing.assert_close(head_degrees(data["headpose/logits"]), data["headpose/degree"], atol=1e-4, rtol=0)
    R = rotation(data["rotation/pitch_yaw_roll_deg"])
    torch.testing.assert_close(R, data["rotation/R"], atol=1e-5, rtol=0)
    part = {key.split("/")[1]: value for key, value in data.items() if key.startswith("transform_keypoint/")}
    R = rotation(torch.cat([part["pitch"], part["yaw"], part["roll"]], 1))
    x = transform(part["kp"], R, part["exp"], part["scale"], part["t"])
    torch.testing.assert_close(x, part["x"], atol=1e-5, rtol=0)


def test_ratios(load_golden):
    data, _ = load_golden("formulas")
    points = data["ratios/lmk203"].numpy()
    np.testing.assert_allclose(eye_ratios(points), data["ratios/eye_close"].numpy(), atol=1e-5)
    np.testing.assert_allclose(lip_ratio(points), data["ratios/lip_close"].numpy()[:, 0], atol=1e-5)
    mesh = np.zeros((478, 2))
    mesh[[33, 133, 362, 263, 61, 291], 0] = [0, 4, 6, 10, 2, 8]
    mesh[[159, 386, 13], 1] = [1, 2, 3]
    np.testing.assert_allclose(eye_ratios(mesh), [0.25, 0.5], atol=1e-5)
    np.testing.assert_allclose(lip_ratio(mesh), 0.5, atol=1e-5)


def test_vector_networks_in_use(load_golden, vectors):
    data, _ = load_golden("formulas")
    x_d = stitch(vectors["stitching"], data["stitching/x_s"][:1], data["stitching/x_d"][:1])
    torch.testing.assert_close(x_d, data["stitching/x_d_new"][:1], atol=1e-5, rtol=0)
    for name, ratios in (("eye", "eye_ratio3"), ("lip", "lip_ratio2")):
        for i in range(4):
            shift = retarget(vectors[name], data["retarget/x_s"][i : i + 1], data[f"retarget/{ratios}"][i : i + 1])
            torch.testing.assert_close(shift[0], data[f"retarget/{name}_delta"][i], atol=1e-5, rtol=0)


def _face(data, name):
    angles = torch.cat([data[f"{name}/{axis}"] for axis in ("pitch", "yaw", "roll")], 1)
    parts = {key: data[f"{name}/{key}"] for key in ("kp", "exp", "t", "scale")}
    return FaceMotion(R=rotation(angles), **parts)


def test_every_setting_moves_the_key_points_as_the_original_does(load_golden, vectors):
    data, meta = load_golden("motion_rules")
    source, driver = _face(data, "source"), _face(data, "driving")
    x_s = source.points()
    torch.testing.assert_close(x_s, data["x_s"], atol=1e-5, rtol=0)
    torch.testing.assert_close(driver.R, data["driving/R"], atol=1e-5, rtol=0)
    points = data["source/lmk203"].numpy()
    eyes = torch.from_numpy(eye_ratios(points)).float()[None]
    lips = torch.tensor([[float(lip_ratio(points))]])
    assert lips > LIPS_OPEN
    runs = json.loads(meta["runs"])
    assert len(runs) == 32
    for run in runs:
        count = run["frames"]
        openings = None
        if run["flag_eye_retargeting"] or run["flag_lip_retargeting"]:
            openings = torch.zeros(count, *x_s.shape[1:])
        if run["flag_eye_retargeting"]:
            ratios = torch.cat([eyes.expand(count, 2), data["driving/c_eyes"][:count, 0, :1]], 1)
            openings += retarget(vectors["eye"], x_s, ratios)
        if run["flag_lip_retargeting"]:
            ratios = torch.cat([lips.expand(count, 1), data["driving/c_lip"][:count, 0]], 1)
            openings += retarget(vectors["lip"], x_s, ratios)
        closing = None
        if run["flag_normalize_lip"]:
            closing = retarget(vectors["lip"], x_s, torch.cat([lips, torch.zeros(1, 1)], 1))
        x_d = animate(
            source,
            driver[:count],
            Rules(run["flag_relative_motion"], run["animation_region"], run["driving_multiplier"]),
            vectors["stitching"] if run["flag_stitching"] else None,
            data["lip_array"][0] if count == 1 else None,
            openings,
            closing,
        )
        found, wanted = x_d, data[f"run/{run['run']}/x_d"]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0, msg=lambda text, run=run: f"{run['run']}: {text}")
