"""The whole chain at full size equals the authors' program."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from avatarkit_liveportrait.animator import Animator
from avatarkit_liveportrait.images import border_mask, network_input, paste, warp
from avatarkit_liveportrait.model import build_networks
from avatarkit_liveportrait.motion import Rules, animate


@pytest.mark.slow
def test_photo_and_driving_pictures_to_a_pasted_frame(load_golden, recipe, random_picture):
    data, meta = load_golden("end_to_end")
    networks = build_networks({})
    _, formulas = load_golden("formulas")
    assert '"stitching": 1126' in formulas["mlp_seed"]
    for name in ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator"):
        networks[name].load_state_dict(recipe(networks[name], int(meta["weights_seed"])))
    networks["stitching"].load_state_dict(recipe(networks["stitching"], 1126))
    animator = Animator(networks, torch.device("cpu"), torch.float32)
    photo = data["source_image"].numpy()
    crop = warp(photo, data["crop/M_o2c"].numpy(), 512, 512)
    small = (network_input(crop)[0].permute(1, 2, 0) * 255).round().numpy()
    assert (np.abs(small - data["crop/img_256"].numpy()) <= 2).mean() > 0.999
    driving = random_picture("drvimgs", (3, 3, 256, 256), int(meta["seed"]))
    assert np.array_equal(driving[:, ::4, ::4], data["driving_images_at_4"].numpy())

    exact = data["crop/img_256"].numpy()  # resized by the authors' version of OpenCV
    source, driver = animator.read([exact]), animator.read(list(driving))
    for key in ("exp", "kp", "scale", "t", "R"):
        torch.testing.assert_close(getattr(driver, key), data[f"template/{key}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(source.points(), data["x_s"], atol=1e-4, rtol=0)
    x_d = animate(source, driver, Rules(), networks["stitching"])
    torch.testing.assert_close(x_d, data["x_d"], atol=1e-4, rtol=0)

    frame = next(islice(animator.frames(exact, source.points(), x_d[1:2], lambda part: None), 1))
    wanted = data["out_at_8"][1].permute(1, 2, 0).numpy() * 255
    assert np.abs(frame[::8, ::8] - wanted).max() < 1 + 255 * 2e-3
    pasted = paste(frame, photo, border_mask(), np.linalg.inv(data["crop/M_o2c"].numpy()))
    difference = np.abs(pasted.astype(int) - data["paste_back"][1].numpy())
    assert (difference <= 2).mean() >= 0.999
