"""Golden files, and weights made again from their recipe."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

GOLDEN = Path(__file__).parent / "golden"
# Output layers of the motion network: gains with which its numbers look like those of trained weights.
GAINS = {"fc_kp": 0.15, "fc_exp": 0.02, "fc_t": 0.05, "fc_scale": 0.1}


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], tuple[dict[str, torch.Tensor], dict[str, str]]]:
    """Tensors and metadata of a safetensors file."""

    def load(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        path = GOLDEN / f"{name}.safetensors"
        with safe_open(path, "pt") as file:
            return load_file(path), file.metadata() or {}

    return load


def _normal(text: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(text.encode()))


def _draw(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    *_, parent, last = ("", *key.split("."))
    x = _normal(f"{seed}:{key}").standard_normal(shape)
    gain = GAINS.get(parent, 1.0)
    if last == "running_mean":
        return 0.1 * x
    if last == "running_var":
        return 0.5 + 0.5 * x * x
    if last in ("gamma", "beta"):
        return 0.2 * x
    if last in ("weight", "weight_orig") and len(shape) > 1:
        return x * (math.sqrt(1.5 / math.prod(shape[1:])) * gain)
    if last == "weight":
        return 1 + 0.1 * x
    if last == "bias":
        return 0.05 * x * min(1.0, 4 * gain) + (1.2 if parent == "fc_scale" else 0.0)
    return x / np.linalg.norm(x)


def _singular_vectors(weight: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrix, u = weight.astype(np.float64).reshape(len(weight), -1), u.astype(np.float64)
    for _ in range(20):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u, v


@pytest.fixture(scope="session")
def recipe() -> Callable[[nn.Module, int], dict[str, torch.Tensor]]:
    """Random weights by the rule of golden/README.md."""

    def make(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
        state: dict[str, np.ndarray] = {}
        for key, value in module.state_dict().items():
            if key.endswith("num_batches_tracked"):
                state[key] = np.zeros((), np.int64)
            else:
                state[key] = _draw(key, tuple(value.shape), seed).astype(np.float32)
        for key in [k for k in state if k.endswith(".weight_u")]:
            stem = key.removesuffix("weight_u")
            u, v = _singular_vectors(state[f"{stem}weight_orig"], state[key])
            state[key], state[f"{stem}weight_v"] = u.astype(np.float32), v.astype(np.float32)
        return {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}

    return make


@pytest.fixture(scope="session")
def random_picture() -> Callable[[str, tuple[int, int, int, int], int], np.ndarray]:
    """(N, H, W, C) uint8 smooth random pictures that the golden files name only."""

    def make(name: str, shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
        n, channels, h, w = shape
        rs = _normal(f"{seed}:input:{name}")
        y, x = np.mgrid[0:h, 0:w].astype(np.float64)
        out = np.zeros(shape, np.float32)
        for i in range(n):
            for c in range(channels):
                total = np.zeros((h, w))
                for _ in range(8):
                    a, fx, fy, phase = rs.standard_normal(), *rs.uniform(0.5, 9, 2), rs.uniform(0, 2 * math.pi)
                    total += a * np.sin(2 * np.pi * (fx * x / w + fy * y / h) + phase)
                total += 0.35 * rs.standard_normal((h, w))
                total = (total - total.min()) / (total.max() - total.min())
                low, high = rs.uniform(0.0, 0.5), rs.uniform(0.5, 1.0)
                out[i, c] = low + (high - low) * total
        return (out.transpose(0, 2, 3, 1) * 255).astype(np.uint8)

    return make


# Small networks that take and give pictures of the released sizes, with little in between.
TINY = {
    "appearance_feature_extractor": {
        "block_expansion": 4,
        "num_down_blocks": 4,
        "max_features": 16,
        "reshape_channel": 2,
        "reshape_depth": 2,
        "num_resblocks": 1,
    },
    "motion_extractor": {"depths": [1, 1, 1, 1], "dims": [4, 4, 4, 8]},
    "warping_module": {
        "block_expansion": 1,
        "max_features": 4,
        "reshape_channel": 2,
        "dense_motion_params": {
            "block_expansion": 2,
            "max_features": 8,
            "num_blocks": 2,
            "reshape_depth": 2,
            "compress": 1,
        },
    },
    "spade_generator": {"upscale": 8, "block_expansion": 1, "max_features": 4},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, recipe) -> Path:
    """A folder of weights, laid out like the released one, with small networks."""
    from avatarkit_liveportrait.model import build_networks

    folder = tmp_path_factory.mktemp("weights") / "liveportrait"
    for name in ("base_models", "retargeting_models"):
        (folder / name).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(TINY))
    with torch.device("meta"):
        networks = build_networks(json.loads((folder / "config.json").read_text()))
    states = {name: recipe(network, 5) for name, network in networks.items()}
    for name in list(states)[:4]:
        torch.save(states[name], folder / "base_models" / f"{name}.pth")
    owners = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
    vectors = {owner: {f"module.{k}": 0.1 * v for k, v in states[name].items()} for name, owner in owners.items()}
    torch.save(vectors, folder / "retargeting_models" / "stitching_retargeting_module.pth")
    return folder
