"""Crops and pasting against the numbers of the authors' program."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.types.camera import front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit_liveportrait.images import (
    FaceCrop,
    border_mask,
    face_points,
    network_input,
    paste,
    picture,
    square_window,
    warp,
)


def _near(found, wanted, levels=2, share=0.999):
    difference = np.abs(found.astype(int) - wanted.astype(int))
    assert (difference <= levels).mean() >= share


def test_crops(load_golden):
    data, meta = load_golden("crop_paste")
    data = {key: value.numpy() for key, value in data.items()}
    cases = json.loads(meta["cases"])
    assert len(cases) == 18
    for case in cases:
        part = {k.removeprefix(case["case"]): v for k, v in data.items() if k.startswith(case["case"])}
        options = (case["dsize"], case["scale"], case["vy_ratio"], case["flag_do_rot"])
        crop = FaceCrop.around(part["pts"].astype(float), part["pt2"], *options)
        np.testing.assert_allclose(crop.to_crop, part["M_o2c"], atol=1e-3)
        np.testing.assert_allclose(crop.to_photo, part["M_c2o"], atol=1e-3)
        assert crop.angle == pytest.approx(part["angle"].item(), abs=1e-5)
        moved = part["pts"] @ crop.to_crop[:2, :2].T + crop.to_crop[:2, 2]
        np.testing.assert_allclose(moved, part["pt_crop"], atol=1e-2)
        image = warp(data["image"], crop.to_crop, case["dsize"], case["dsize"])
        _near(image[::8, ::8], part["img_crop_at_8"], levels=1)
        assert (image[::8, ::8] == part["img_crop_at_8"]).mean() > 0.999
        if "img_crop_256_area_at_4" in part:
            small = picture(network_input(image))
            _near(small[::4, ::4], part["img_crop_256_area_at_4"])
        if len(part["pts"]) == 68:
            whole = np.zeros((133, 2), np.float32)
            whole[23:91] = part["pts"] + 0.5
            found = face_points(Keypoints(260, 300, {"coco133": whole}, {"coco133": np.ones(133)}), 260, 300)
            np.testing.assert_allclose(found[0], part["pts"], atol=1e-4)
            np.testing.assert_allclose(found[1], part["pt2"], atol=1e-4)


def test_pasting(load_golden, random_picture):
    data, meta = load_golden("crop_paste")
    data = {key: value.numpy() for key, value in data.items()}
    generated = random_picture("gen", (1, 3, 512, 512), int(meta["seed"]))[0]
    assert np.array_equal(generated[::8, ::8], data["paste/generated_at_8"])
    share = data["paste/mask_ori"][..., None]
    moved = warp(generated, data["paste/M_c2o"], 260, 300)
    pasted = (share * moved + (1 - share) * data["image"]).astype(np.uint8)
    _near(pasted, data["paste/result"], levels=1)
    assert (pasted == data["paste/result"]).mean() > 0.999
    whole = paste(generated, data["image"], np.ones((512, 512), np.float32), data["paste/M_c2o"])
    inside = warp(np.ones((512, 512), np.float32), data["paste/M_c2o"], 260, 300)
    assert np.array_equal(whole[inside == 1], moved[inside == 1])
    assert np.array_equal(whole[inside == 0], data["image"][inside == 0])


def test_bytes_in_and_out(load_golden):
    data, _ = load_golden("formulas")
    assert np.array_equal(picture(data["image/net_output"]), data["image/parsed_uint8"][0].numpy())
    black = np.zeros((512, 512, 3), np.uint8)
    assert network_input(black).shape == (1, 3, 256, 256)


def test_the_mask_fades_along_the_border():
    mask = border_mask()
    assert mask.shape == (512, 512)
    assert mask[0, 256] == 0
    assert mask[256, 256] == mask[16, 16] == 1
    assert mask[8, 256] == pytest.approx(127 / 255)
    assert mask[4, 4] < mask[4, 256]


def test_cameras_see_what_crops_show():
    camera = front_camera(200, 300)
    points = torch.tensor([[0.02, 0.05, -1.0], [-0.1, 0.1, -1.2], [0.1, -0.08, -0.9]])
    landmarks = np.array([[60.0, 90], [120, 100], [85, 160], [100, 120]])
    crop = FaceCrop.around(landmarks, np.array([[95.0, 100], [85, 140]]))
    assert abs(crop.angle) > 0.1
    seen = camera.project(points).numpy() - 0.5
    expected = seen @ crop.to_crop[:2, :2].T + crop.to_crop[:2, 2] + 0.5
    np.testing.assert_allclose(crop.camera(camera).project(points).numpy(), expected, atol=1e-3)
    np.testing.assert_allclose(crop.camera(camera, 256).project(points).numpy(), expected / 2, atol=1e-3)
    matrix, window = square_window(crop, camera, 128)
    expected = seen @ matrix[:2, :2].T + matrix[:2, 2] + 0.5
    np.testing.assert_allclose(window.project(points).numpy(), expected, atol=1e-3)
    corners = np.array([[-0.5, -0.5, 1], [511.5, -0.5, 1], [-0.5, 511.5, 1], [511.5, 511.5, 1]])
    placed = (corners @ crop.to_photo.T @ matrix.T)[:, :2] + 0.5
    assert placed.min() == pytest.approx(0, abs=1e-6)
    assert placed.max() == pytest.approx(128, abs=1e-6)


def test_photos_without_a_face_are_refused():
    with pytest.raises(InputError, match="no landmarks"):
        face_points(Keypoints(10, 10, {}, {}), 10, 10)
    with pytest.raises(InputError, match="on top of each other"):
        FaceCrop.around(np.ones((68, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match="on top of each other"):
        FaceCrop.around(np.full((68, 2), np.nan), np.array([[0.0, 0], [0, 1]]))
