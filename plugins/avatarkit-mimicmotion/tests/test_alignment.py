"""Drawn poses equal the authors' to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avatarkit.errors import InputError
from avatarkit.labelling.pose_maps import body_points, draw_poses
from avatarkit.labelling.wholebody import FACE, HANDS
from avatarkit_mimicmotion.alignment import STYLE, fit_alignment

SETS = ["A_clear", "B_lowconf_missing", "C_two_people"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("height", "width"), [(1024, 576), (320, 448)])
def test_maps_are_pixel_exact(name, height, width, golden):
    with np.load(golden / f"posemap_{name}.npz") as data:
        points, scores = data["keypoints"].astype(float) / data["source_wh"], data["scores"].astype(float)
        body, body_score = body_points(points, scores, STYLE)
        np.testing.assert_allclose(body.reshape(-1, 2), data["out_candidate"], atol=1e-12)
        np.testing.assert_array_equal(body_score > 0.3, data["out_subset"] >= 0)
        np.testing.assert_allclose(points[:, FACE], data["out_faces"], atol=1e-12)
        hands = np.concatenate([points[:, part] for part in HANDS.values()])
        np.testing.assert_allclose(hands, data["out_hands"], atol=1e-12)
    with Image.open(golden / f"posemap_{name}_{height}x{width}.png") as picture:
        wanted = np.asarray(picture.convert("RGB"))
    drawn = draw_poses(points * [width, height], scores, height, width, STYLE)
    assert np.array_equal(drawn[..., ::-1], wanted)  # the authors' pictures have red and blue exchanged


def test_alignment_with_the_reference(golden):
    with np.load(golden / "pose_rescale.npz") as file:
        data = dict(file)
    (frame_h, frame_w), (ref_h, ref_w), (height, width) = data["frame_hw"], data["ref_hw"], data["out_maps"].shape[2:]
    reference = data["ref_keypoints"].astype(float) / [ref_w, ref_h], data["ref_scores"].astype(float)
    frames = [data[f"frame{i:02d}_keypoints"].astype(float) / [frame_w, frame_h] for i in data["sampled_frame_ids"]]
    scores = [data[f"frame{i:02d}_scores"].astype(float) for i in data["sampled_frame_ids"]]
    assert {len(people) for people in frames} == {1, 2}
    aspect = (width / height) / (frame_w / frame_h)
    scale, shift = fit_alignment(reference[0][0], reference[1][0], frames, aspect)
    np.testing.assert_allclose(scale, data["out_a_xy"], atol=1e-9)
    np.testing.assert_allclose(shift, data["out_b_xy"], atol=1e-9)
    people = [reference[0], *(people * scale + shift for people in frames)]
    maps = [data["out_ref_map"], *data["out_maps"]]
    for points, score, wanted in zip(people, [reference[1], *scores], maps, strict=True):
        drawn = draw_poses(points * [width, height], score, height, width, STYLE)
        assert np.array_equal(drawn[..., ::-1].transpose(2, 0, 1), wanted)


def test_nobody_to_align_with():
    nobody, somebody = np.zeros(133), np.ones(133)
    for scores, frames in ((nobody, [np.zeros((1, 133, 2))]), (somebody, [])):
        with pytest.raises(InputError, match="aligned"):
            fit_alignment(np.zeros((133, 2)), scores, frames)


def test_lost_points_leave_no_trace():
    assert not draw_poses(np.full((1, 133, 2), -1.0), np.zeros((1, 133)), 64, 64, STYLE).any()
    assert not draw_poses(np.full((1, 133, 2), np.nan), np.ones((1, 133)), 64, 64, STYLE).any()
