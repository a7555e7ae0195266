"""Noise levels, tiles, fusion, guidance and resume."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import avg_pool2d

from avatarkit.errors import ConfigError
from avatarkit.labelling.scratch import Scratch
from avatarkit_mimicmotion.pipeline import VideoPipeline
from avatarkit_mimicmotion.sampling import Sampling, denoise, initial_latents
from avatarkit_mimicmotion.schedule import guidance_scales, noise_levels, tile_weights, tiles
from avatarkit_mimicmotion.weights import Networks


@pytest.mark.parametrize("steps", [4, 10, 25, 50])
def test_noise_levels_equal_the_original(steps, load_golden):
    data, _ = load_golden("scheduler")
    sigmas, levels = noise_levels(steps)
    assert torch.equal(sigmas, data[f"steps{steps}.sigmas"])
    torch.testing.assert_close(levels, data[f"steps{steps}.timesteps"], rtol=0, atol=2e-7)
    assert initial_latents(torch.ones(1, 1, 1, 1, 1), 1, steps).item() == data[f"steps{steps}.init_noise_sigma"]


@given(st.integers(2, 400), st.integers(2, 90), st.data())
def test_tiles_cover_all_frames_and_begin_with_the_reference(frames, size, data):
    windows = tiles(frames, size, data.draw(st.integers(1, size - 1)))
    assert set().union(*windows) == set(range(frames))
    for window in windows:
        assert len(window) == min(size, frames)
        assert window[0] == 0
        assert window[1:] == list(range(window[1], window[1] + len(window) - 1))
    assert (tile_weights(len(windows[0])) > 0).all()


@pytest.mark.parametrize(("frames", "size", "overlap"), [(10, 4, 0), (10, 4, 4), (10, 1, 1), (1, 4, 2)])
def test_tilings_that_leave_holes_are_refused(frames, size, overlap):
    with pytest.raises(ConfigError):
        tiles(frames, size, overlap)


def _pooled(image: torch.Tensor) -> torch.Tensor:
    small = avg_pool2d(image, 8)
    return torch.cat([small, small.mean(1, keepdim=True)], 1)


class _StandInUNet(nn.Module):
    """The formula with which the golden numbers were made; depends on every input and on the place in the tile."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.calls = 0

    def forward(self, x, level, embedding, ids, pose):
        self.calls += 1
        n, m = x[:, :, :4], x[:, :, 4:]
        q = ((torch.arange(x.shape[1]) + 1) / x.shape[1])[None, :, None, None, None]
        y = 0.6 * n + 0.25 * m + 0.1 * n.mean(1, keepdim=True) + 0.5 * q * n.tanh()
        y = y + 0.02 * level + 0.3 * embedding.mean() + 0.001 * ids.sum()
        return y if pose is None else y + 0.2 * pose[None]


class _StandInVAE(nn.Module):
    def encode(self, x):
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: _pooled(x)))


class _StandInPoseNet(nn.Module):
    def forward(self, pose):
        return _pooled(pose)


class _StandInEncoder(nn.Module):
    def forward(self, x):
        return SimpleNamespace(image_embeds=torch.stack([x.mean(), x.amax(), x.amin(), x.std()])[None])


@pytest.mark.parametrize("case", range(5))
def test_fusion_and_guidance_equal_the_original(case, load_golden):
    data, meta = load_golden("tiled_fusion")
    setup = json.loads(meta["cases"])[case]
    get = {k.split(".", 1)[1]: v for k, v in data.items() if k.startswith(f"case{case}.")}
    windows = tiles(setup["num_frames"], setup["tile_size"], setup["tile_overlap"])
    assert windows == setup["tiles"]
    assert torch.equal(tile_weights(len(windows[0])), get["out.weight"])
    guidance = guidance_scales(setup["num_frames"], setup["min_guidance"], setup["max_guidance"])
    assert torch.equal(guidance, get["out.guidance_scale"].flatten())

    sampling = Sampling(
        setup["steps"], setup["min_guidance"], setup["max_guidance"], setup["tile_size"], setup["tile_overlap"]
    )
    networks = Networks(_StandInUNet(), _StandInPoseNet(), _StandInVAE(), _StandInEncoder())
    pipeline = VideoPipeline(networks, sampling, noise_aug_strength=setup["noise_aug_strength"])
    embedding, image_latents = pipeline.encode(get["in.ref_image"], torch.Generator())
    torch.testing.assert_close(embedding[0], get["out.image_embeddings"][1], rtol=0, atol=2e-6)
    torch.testing.assert_close(image_latents[0], get["out.image_latents"][1], rtol=0, atol=2e-6)
    maps = (get["in.pose"] + 1) * 127.5  # kept as float: the golden poses are no 8-bit pictures
    latents = initial_latents(get["in.latents"], setup["num_frames"], setup["steps"])

    def check(step, latents, v):
        torch.testing.assert_close(v, get["out.noise_pred_steps"][step], rtol=0, atol=5e-4)
        torch.testing.assert_close(latents, get["out.latents_steps"][step], rtol=0, atol=5e-4)

    with torch.no_grad():
        final = pipeline.sample(latents, embedding, image_latents, maps, observe=check)
    torch.testing.assert_close(final, get["out.final"], rtol=0, atol=5e-4)
    assert networks.unet.calls == setup["unet_calls_per_step"] * setup["steps"]


def _predict(scaled, level, window, conditional):
    place = torch.tensor(window, dtype=torch.float32)[None, :, None, None, None]
    return (scaled + 0.1 * place + level * (2 if conditional else 1)).tanh()


def test_a_killed_run_goes_on_with_the_same_result(tmp_path):
    sampling = Sampling(steps=3, guidance_min=1.5, guidance_max=3.0, tile_size=4, tile_overlap=2)
    start = initial_latents(torch.randn(1, 4, 4, 2, 2, generator=torch.Generator().manual_seed(0)), 9, 3)
    whole = denoise(_predict, start, sampling)
    total = len(tiles(9, 4, 2)) * 2 * 3
    for limit in range(1, total, 3):
        scratch = Scratch(tmp_path / str(limit), every_seconds=0.0)
        calls = [0, 0]

        def dying(*arguments, calls=calls, limit=limit):
            if calls[0] == limit:
                raise KeyboardInterrupt
            calls[0] += 1
            return _predict(*arguments)

        def counting(*arguments, calls=calls):
            calls[1] += 1
            return _predict(*arguments)

        with pytest.raises(KeyboardInterrupt):
            denoise(dying, start, sampling, scratch=scratch)
        assert torch.equal(denoise(counting, start, sampling, scratch=scratch), whole)
        assert calls[0] + calls[1] <= total + 1  # at most one window of two passes is done again in part


def test_damaged_scratch_is_done_again(tmp_path):
    sampling = Sampling(steps=2, tile_size=4, tile_overlap=2)
    start = torch.ones(1, 5, 4, 2, 2)
    (tmp_path / "latents.safetensors").write_bytes(b"half a file")
    assert torch.equal(
        denoise(_predict, start, sampling, scratch=Scratch(tmp_path)), denoise(_predict, start, sampling)
    )


def test_without_guidance_the_network_is_asked_once():
    asked = []

    def predict(scaled, level, window, conditional):
        asked.append(conditional)
        return scaled

    denoise(predict, torch.ones(1, 4, 4, 2, 2), Sampling(2, 1.0, 1.0, 4, 2))
    assert asked == [True, True]
