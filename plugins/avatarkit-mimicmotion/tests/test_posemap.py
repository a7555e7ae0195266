"""Drawn poses equal the authors' to the pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from avatarkit.errors import InputError
from avatarkit_mimicmotion.posemap import People, align, draw, fit_alignment

SETS = ["A_clear", "B_lowconf_missing", "C_two_people"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("height", "width"), [(1024, 576), (320, 448)])
def test_maps_are_pixel_exact(name, height, width, golden):
    with np.load(golden / f"posemap_{name}.npz") as data:
        people = People.from_coco(data["keypoints"], data["scores"], *data["source_wh"])
        np.testing.assert_allclose(people.body.reshape(-1, 2), data["out_candidate"], atol=1e-12)
        np.testing.assert_array_equal(people.body_score > 0.3, data["out_subset"] >= 0)
        np.testing.assert_allclose(people.face, data["out_faces"], atol=1e-12)
        np.testing.assert_allclose(people.hands, data["out_hands"], atol=1e-12)
    with Image.open(golden / f"posemap_{name}_{height}x{width}.png") as picture:
        wanted = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(draw(people, height, width), wanted)


def test_alignment_with_the_reference(golden):
    with np.load(golden / "pose_rescale.npz") as file:
        data = dict(file)
    (frame_h, frame_w), (ref_h, ref_w), (height, width) = data["frame_hw"], data["ref_hw"], data["out_maps"].shape[2:]
    reference = People.from_coco(data["ref_keypoints"], data["ref_scores"], ref_w, ref_h)
    frames = [
        People.from_coco(data[f"frame{i:02d}_keypoints"], data[f"frame{i:02d}_scores"], frame_w, frame_h)
        for i in data["sampled_frame_ids"]
    ]
    assert {len(people) for people in frames} == {1, 2}
    scale, shift = fit_alignment(reference, frames, aspect=(width / height) / (frame_w / frame_h))
    np.testing.assert_allclose(scale, data["out_a_xy"], atol=1e-9)
    np.testing.assert_allclose(shift, data["out_b_xy"], atol=1e-9)
    for people, wanted in zip(frames, data["out_maps"], strict=True):
        assert np.array_equal(draw(align(people, scale, shift), height, width), wanted)
    assert np.array_equal(draw(reference, height, width), data["out_ref_map"])


def test_nobody_to_align_with():
    nobody = People.from_coco(np.zeros((1, 133, 2)), np.zeros((1, 133)), 10, 10)
    somebody = replace(nobody, body_score=np.ones((1, 18)))
    for reference, frames in ((nobody, [somebody]), (somebody, [])):
        with pytest.raises(InputError, match="aligned"):
            fit_alignment(reference, frames, 1.0)


def test_lost_points_leave_no_trace():
    lost = People.from_coco(np.full((1, 133, 2), -1.0), np.zeros((1, 133)), 64, 64)
    assert not draw(lost, 64, 64).any()
