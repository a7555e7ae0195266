"""The whole generator with small real networks equals the authors' program."""

from __future__ import annotations

import json

import torch

from avatarkit_mimicmotion.pipeline import VideoPipeline
from avatarkit_mimicmotion.sampling import Sampling, initial_latents
from avatarkit_mimicmotion.weights import load_networks


@torch.no_grad()
def test_everything_equals_the_original(tiny, load_golden):
    data, meta = load_golden("pipeline_tiny")
    call = json.loads(meta["call"])
    sampling = Sampling(call["steps"], call["gmin"], call["gmax"], call["tile"], call["overlap"])
    options = {"noise_aug_strength": call["na"], "motion_bucket": call["mb"], "decode_chunk": call["chunk"]}
    pipeline = VideoPipeline(load_networks(*tiny), sampling, **options)
    generator = torch.Generator().manual_seed(call["seed"])
    reference, maps = data["in.ref_image"], data["in.pose_pixels_uint8"]

    embedding, image_latents = pipeline.encode(reference, generator)
    torch.testing.assert_close(embedding, data["mid.image_embeddings"][1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(image_latents, data["mid.image_latents"][1:], rtol=0, atol=2e-5)
    noise = pipeline.draw_noise(maps, generator)
    assert torch.equal(noise, data["mid.rng_latent_noise"])
    latents = initial_latents(noise, len(maps), call["steps"])
    torch.testing.assert_close(latents[:, : call["tile"]], data["mid.initial_latents_tile_scaled"], rtol=1e-6, atol=0)

    final = pipeline.sample(latents, embedding, image_latents, maps)
    torch.testing.assert_close(final, data["mid.latents_steps"][-1], rtol=0, atol=1e-4)
    chunks = final[0].split(call["chunk"])
    frames = torch.cat([pipeline.decode_values(pipeline.networks.vae, chunk) for chunk in chunks])
    torch.testing.assert_close(frames, data["out.frames"][0], rtol=0, atol=1e-4)

    heard = []
    video = pipeline.generate(reference, maps, call["seed"], report=lambda what, part: heard.append(part))
    difference = video.permute(0, 3, 1, 2).int() - data["out.video_uint8"].int()
    assert difference.abs().max() <= 1
    assert difference.float().mean().abs() < 1e-3  # the original truncates; rounding would make the frames brighter
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


@torch.no_grad()
def test_half_precision_runs_on_the_cpu(tiny, load_golden):
    data, meta = load_golden("pipeline_tiny")
    call = json.loads(meta["call"])
    sampling = Sampling(call["steps"], call["gmin"], call["gmax"], call["tile"], call["overlap"])
    networks = load_networks(*tiny, dtype=torch.bfloat16)
    pipeline = VideoPipeline(networks, sampling, noise_aug_strength=call["na"], decode_chunk=call["chunk"])
    video = pipeline.generate(data["in.ref_image"], data["in.pose_pixels_uint8"], call["seed"])
    difference = (video.permute(0, 3, 1, 2).float() - data["out.video_uint8"].float()).abs().mean()
    assert difference < 6  # of 255, with three digits
