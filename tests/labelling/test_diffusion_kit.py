"""Maps of a requested motion, tiles that resume, offloading, and the worked example with tiny random weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit import read_manifest
from avatarkit.errors import InputError, MissingWeights
from avatarkit.labelling.pipelines import choose_offload, from_hub_or_folder, move, number_format, resolve_offload
from avatarkit.labelling.pose_maps import COLORS, DWPOSE, draw_poses
from avatarkit.labelling.request import PART_COLORS, PARTS, ClipRequest, body_parts
from avatarkit.labelling.scratch import Scratch, generate_in_tiles, tile_seed, tiles
from avatarkit.storage.serialization import load_clip
from avatarkit.testing import TinyBody, tiny_build, tiny_context, tiny_motion, tiny_subject
from avatarkit.utils.paths import weights_folder

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "repaint.py"
needs_diffusers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("diffusers", "transformers")), reason="needs diffusers"
)


@pytest.fixture(scope="module")
def request_(tmp_path_factory) -> ClipRequest:
    context = tiny_context(tmp_path_factory.mktemp("cache"))
    return ClipRequest.of(context, tiny_subject(size=128), tiny_motion(frames=4), fps=10, size=(64, 64))


def test_a_request_shows_the_window_of_the_photo(request_):
    assert (len(request_), request_.name) == (4, "body-tiny")
    assert request_.reference.shape == (64, 64, 3)
    assert (request_.camera.width, request_.camera.height) == (64, 64)
    points, scores = request_.points
    assert points.shape == (4, 133, 2)
    assert scores.shape == (4, 133)


def test_an_empty_matte_is_refused(request_):
    subject = request_.subject
    nobody = replace(subject, matte=replace(subject.matte, alpha=subject.matte.alpha * 0))
    with pytest.raises(InputError, match="matte is empty"):
        ClipRequest.of(request_.context, nobody, tiny_motion(frames=4), fps=10)


def test_maps_show_the_same_body(request_):
    maps = request_.maps("depth", "normal", "part")
    assert {m.shape for m in maps.values()} == {(4, 64, 64, 3)}
    covered = maps["part"].any(-1)
    assert 0.02 < covered.mean() < 0.9
    assert np.array_equal(maps["depth"].any(-1), covered)
    assert np.array_equal(maps["normal"].any(-1), covered)
    depth = maps["depth"][..., 0][covered]
    assert (depth.min(), depth.max()) >= (51, 200)
    # Near the middle of a tube the surface faces the camera: z is 1, x and y are 0.
    normals = maps["normal"][covered].astype(float) / 127.5 - 1
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=0.02)
    assert normals[:, 2].mean() > 0.5
    colors = {tuple(c) for c in maps["part"][covered].tolist()}
    assert colors <= {tuple(c) for c in PART_COLORS.tolist()}
    assert len(colors) >= 5


def test_normals_point_outwards(request_):
    maps = request_.maps("normal", "part")
    head = (maps["part"] == PART_COLORS[PARTS.index("head")]).all(-1)[0]
    rows, columns = (np.flatnonzero(head.any(axis)) for axis in (1, 0))
    x, y = (maps["normal"][0, ..., k].astype(float) for k in range(2))
    left, right = (x[:, c][head[:, c]].mean() for c in (columns[0], columns[-1]))
    assert left < 110
    assert right > 145
    assert y[rows[0]][head[rows[0]]].mean() > y[rows[-1]][head[rows[-1]]].mean() + 20  # green is up


def test_body_parts_follow_the_joints():
    body = TinyBody()
    parts = body_parts(body)
    names = [PARTS[int(parts[i])] for i in range(42, len(parts), 84)]  # in the middle of each tube
    assert names == [
        "torso", "torso", "head", "left_upper_arm", "left_lower_arm", "right_upper_arm", "right_lower_arm",
        "left_upper_leg", "right_upper_leg",
    ]  # fmt: skip


def test_dwpose_draws_confident_points_in_full_color():
    points = np.stack([20 + 20.0 * (np.arange(133) % 30), 100 + 80.0 * (np.arange(133) // 30)], 1)
    points[5], points[7] = (100, 100), (300, 100)
    scores = np.zeros(133)
    scores[[5, 7, 30, 95]] = 0.31
    scores[31] = 0.29
    drawn = draw_poses(points[None], scores[None], 720, 1280, DWPOSE)
    assert drawn[100, 200].tolist() == [int(c * 0.6) for c in COLORS[4]]
    assert drawn[100, 100].tolist() == list(COLORS[5])
    assert drawn[int(points[30, 1]), int(points[30, 0])].tolist() == [255, 255, 255]
    assert not drawn[int(points[31, 1]), int(points[31, 0])].any()
    assert drawn[int(points[95, 1]), int(points[95, 0])].tolist() == [0, 0, 255]


# ------------------------------------------------------------------------------------------------------- tiles and scratch


@pytest.mark.parametrize(("count", "size", "overlap"), [(1, 4, 0), (4, 4, 1), (9, 4, 2), (10, 4, 0), (11, 5, 1)])
def test_tiles_cover_all_frames_in_order(count, size, overlap):
    windows = tiles(count, size, overlap)
    assert sorted({n for window in windows for n in window}) == list(range(count))
    assert all(len(window) == min(size, count) for window in windows)
    assert all(b.start > a.start and len(set(a) & set(b)) >= overlap for a, b in pairwise(windows))


def test_each_tile_has_its_own_seed():
    seeds = {tile_seed(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert tile_seed(3, 4) == tile_seed(3, 4)


def _frames(window, seed, shared):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (len(window), 2, 2, 3), generator=generator, dtype=torch.uint8)


def test_a_stopped_clip_continues_after_its_last_tile(tmp_path):
    whole = generate_in_tiles(_frames, 9, 4, 2, seed=1)
    assert whole.shape == (9, 2, 2, 3)
    context = replace(tiny_context(tmp_path), progress=lambda *a: None)
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"1")
    scratch = Scratch.for_clip(context, "mine", whole, weights, 1)
    calls = []

    def dying(window, seed, shared):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(window)
        return _frames(window, seed, shared)

    with pytest.raises(KeyboardInterrupt):
        generate_in_tiles(dying, 9, 4, 2, seed=1, scratch=scratch)
    rest = []
    again = generate_in_tiles(lambda *a: rest.append(a[0]) or _frames(*a), 9, 4, 2, seed=1, scratch=scratch)
    assert torch.equal(again, whole)
    assert [*calls, *rest] == tiles(9, 4, 2)
    scratch.remove()
    assert not scratch.folder.exists()
    weights.write_bytes(b"other")
    assert Scratch.for_clip(context, "mine", whole, weights, 1).folder != scratch.folder


def test_shared_frames_are_blended():
    def flat(window, seed, shared):
        return torch.full((len(window), 1, 1, 3), 0 if window.start == 0 else 90, dtype=torch.uint8)

    assert generate_in_tiles(flat, 6, 4, 2, seed=0)[:, 0, 0, 0].tolist() == [0, 0, 30, 60, 90, 90]


def test_offloading_follows_the_free_memory():
    sizes = {"unet": 6, "vae": 1, "text": 2}
    assert [choose_offload(sizes, free) for free in (15, 14, 10, 9)] == ["none", "modules", "modules", "layers"]
    networks = {"net": torch.nn.Linear(1000, 1000), "scheduler": object()}  # 4 MB
    gpu = torch.device("cuda")
    assert [resolve_offload(networks, gpu, memory_gb=gb) for gb in (0.01, 0.005)] == ["none", "layers"]
    assert resolve_offload(networks, gpu, "modules") == "modules"
    assert resolve_offload(networks, torch.device("cpu")) == "none"
    assert number_format("auto", torch.device("cpu")) == torch.float32
    assert number_format("auto", torch.device("cuda"), torch.bfloat16) == torch.bfloat16
    assert number_format("float16", torch.device("cpu")) == torch.float16


# ------------------------------------------------------------------------------------------------------ the worked example


@pytest.fixture
def example(monkeypatch):
    """The module of the worked example."""
    spec = importlib.util.spec_from_file_location("repaint", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "repaint", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory) -> Path:
    """A cache with tiny random networks under the names of the example's weights, saved by the libraries themselves."""
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("home") / "weights"
    blocks = {"block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=32, in_channels=4, out_channels=4, cross_attention_dim=8, attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            **blocks,
        )  # fmt: skip
        ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8)).save_pretrained(
            folder / "controlnet-openpose"
        )
        vae = AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, **blocks,
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=4, hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1, eos_token_id=1,
                bos_token_id=0, pad_token_id=1,
            )
        )  # fmt: skip
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "photo": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=16
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder / "sd-1-5")  # fmt: skip
    return folder.parent


@needs_diffusers
def test_the_example_works_in_a_build(example, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARKIT_CACHE", str(tiny_weights))
    path = tiny_build(tmp_path, example, body_labels={"use": "repaint", "size": 64, "steps": 4, "fps": 10})
    (folder,) = (path / "cache").glob("body-labels-0*")
    clip = load_clip(folder)
    assert clip.frames.shape[1:] == (64, 64, 3)
    assert clip.frames.float().std() > 3
    assert not (tiny_weights / "scratch").exists()  # unfinished work lies inside the avatar
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and "repaint" in f.parent.parts]
    assert "CreativeML" in str(read_manifest(path))


@needs_diffusers
def test_missing_weights_are_named_with_command_and_license(example, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"avatarkit weights fetch sd-1-5 \(license: CreativeML"):
        tiny_build(tmp_path, example, body_labels={"use": "repaint", "size": 64})


@needs_diffusers
@pytest.mark.parametrize("library", ["os", "my_code"])
def test_code_of_a_checkpoint_is_not_run(library, tmp_path):
    from diffusers import StableDiffusionPipeline

    (tmp_path / "model_index.json").write_text(json.dumps({"unet": [library, "system"]}))
    with pytest.raises(InputError, match="could run code"):
        from_hub_or_folder(StableDiffusionPipeline, tmp_path, tiny_context(tmp_path), dtype=torch.float32)


def test_nothing_moves_on_a_cpu():
    assert move(object(), torch.device("cpu")) == "none"
    assert weights_folder().name == "weights"
