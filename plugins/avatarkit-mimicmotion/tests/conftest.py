"""Golden files, weights made again from their recipe, and a tiny checkpoint on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

# The plugin's heavy needs are an extra: without them there is nothing to test.
if importlib.util.find_spec("diffusers") is None or importlib.util.find_spec("transformers") is None:
    collect_ignore_glob = ["test_*.py"]

GOLDEN = Path(__file__).parent / "golden"
GAINS = {"pose_net": math.sqrt(2)}


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], tuple[dict[str, torch.Tensor], dict[str, str]]]:
    """Tensors and metadata of a safetensors file."""

    def load(name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        path = GOLDEN / f"{name}.safetensors"
        with safe_open(path, "pt") as file:
            return load_file(path), file.metadata()

    return load


def random_state(module: nn.Module, owner: str) -> dict[str, torch.Tensor]:
    """Random weights by the rule of golden/README.md."""
    state = {}
    for key, value in module.state_dict().items():
        seed = (1234 + zlib.crc32(f"{owner}.{key}".encode())) % 2**32
        x = np.random.RandomState(seed).standard_normal(tuple(value.shape))
        last = key.rsplit(".", 1)[-1]
        if last == "mix_factor":
            x = 0.5 + x
        elif last == "scale":
            x = 1 + 0.25 * x
        elif last == "weight" and value.ndim >= 2:
            x = x * GAINS.get(owner, 1.0) / math.sqrt(math.prod(value.shape[1:]))
        elif last == "weight":
            x = 1 + 0.1 * x
        else:
            x = 0.1 * x
        state[key] = torch.from_numpy(np.asarray(x, np.float32))
    return state


@pytest.fixture(scope="session")
def recipe() -> Callable[[nn.Module, str], dict[str, torch.Tensor]]:
    return random_state


@pytest.fixture(scope="session")
def digest() -> Callable[[dict[str, torch.Tensor]], str]:
    def sha256(state: dict[str, torch.Tensor]) -> str:
        total = hashlib.sha256()
        for key in sorted(state):
            total.update(key.encode() + state[key].numpy().tobytes())
        return total.hexdigest()

    return sha256


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, load_golden, recipe) -> tuple[Path, Path]:
    """A checkpoint file and a base folder, laid out like the released ones, with small networks."""
    from avatarkit_mimicmotion.model import build_pose_net, build_unet
    from avatarkit_mimicmotion.weights import _image_encoder, _vae

    _, meta = load_golden("pipeline_tiny")
    folder = tmp_path_factory.mktemp("weights")
    base = folder / "svd-xt-1-1"
    for name in ("unet", "vae", "image_encoder"):
        (base / name).mkdir(parents=True)
        (base / name / "config.json").write_text(meta[f"{name}_config"])
    with torch.device("meta"):
        unet, pose_net = build_unet(json.loads(meta["unet_config"])), build_pose_net(json.loads(meta["pose_net"]))
        vae, encoder = _vae(base), _image_encoder(base)
    state = {f"unet.{k}": v for k, v in recipe(unet, "unet").items()}
    state |= {f"pose_net.{k}": v for k, v in recipe(pose_net, "pose_net").items()}
    torch.save(state, folder / "MimicMotion_1-1.pth")
    save_file(recipe(vae, "vae"), base / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    save_file(recipe(encoder, "image_encoder"), base / "image_encoder" / "model.fp16.safetensors")
    return folder / "MimicMotion_1-1.pth", base
