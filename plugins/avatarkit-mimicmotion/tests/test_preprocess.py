"""Sizes, framing, and what the networks are shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatarkit.errors import ConfigError
from avatarkit.labelling.framing import crop
from avatarkit_mimicmotion.preprocess import clip_pixels, cover_window, signed, target_size


def test_sizes():
    longs = {256: 448, 320: 512, 384: 640, 448: 768, 512: 896, 576: 1024, 640: 1088, 704: 1216, 768: 1344}
    for short, long in longs.items():
        assert target_size(short, portrait=True) == (long, short)
        assert target_size(short, portrait=False) == (short, long)
    with pytest.raises(ConfigError, match="100"):
        target_size(100, portrait=True)


@pytest.mark.parametrize("number", range(4))
def test_the_authors_framing_to_the_pixel(number, golden):
    with np.load(golden / "reference_image.npz") as data:
        photo, wanted = data[f"img{number}_in"], data[f"img{number}_resized_uint8"]
        resolution = int(data[f"img{number}_resolution"])
    window = cover_window(photo.shape[0], photo.shape[1], resolution)
    assert np.array_equal(crop(torch.from_numpy(photo), window).permute(2, 0, 1).numpy(), wanted)


def test_image_encoder_view_equals_the_original(load_golden):
    data, _ = load_golden("clip_preprocess")
    image = signed(data["img1.in"])[None]
    torch.testing.assert_close(clip_pixels(image), data["img1.clip_pixel_values"], rtol=0, atol=2e-6)
    extremes = torch.stack([image.min(), image.mean(), image.max()])
    torch.testing.assert_close(extremes, data["img1.vae_input_min_mean_max"], rtol=0, atol=2e-6)
