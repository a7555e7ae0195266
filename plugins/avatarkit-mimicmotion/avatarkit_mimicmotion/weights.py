"""Reads checkpoints, strictly: every tensor has its place, every place its tensor, and nothing in a file is run."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from avatarkit.errors import InputError, MissingWeights
from avatarkit_mimicmotion.model import build_pose_net, build_unet

__all__ = ["Networks", "load_networks", "read_tensors"]

PREFIXES = {"unet": "unet.", "pose_net": "pose_net.", "vae": "vae.", "image_encoder": "image_encoder."}
# What older programs wrote into files and newer modules do not keep.
OBSOLETE = ("vision_model.embeddings.position_ids",)

# What readers raise on files that are cut, empty or of another kind.
_DAMAGED = (
    *(SafetensorError, RuntimeError, ValueError, TypeError, LookupError, EOFError, OSError, AttributeError),
    *(MemoryError, struct.error),
)


@dataclass(frozen=True)
class Networks:
    """All networks of the generator, in evaluation mode, on the CPU.

    Attributes:
        unet: ``PoseUNet``. pose_net: ``PoseNet``. vae: of Stable Video Diffusion. image_encoder: CLIP with projection.
    """

    unet: nn.Module
    pose_net: nn.Module
    vae: nn.Module
    image_encoder: nn.Module


def load_networks(
    checkpoint: Path, base: Path, pose_net: Path | None = None, dtype: torch.dtype = torch.float32
) -> Networks:
    """Builds all networks from files.

    Args:
        checkpoint: the released file (``unet.*`` and ``pose_net.*``), or the video network alone without prefix.
        base: folder of Stable Video Diffusion: ``vae/``, ``image_encoder/`` and, if there, ``unet/config.json``.
        pose_net: the pose network's own file, where ``checkpoint`` has none.
        dtype: of the networks.

    Raises:
        MissingWeights: a file is not there, or a network is in none of them.
        InputError: a file is damaged, is no checkpoint, or does not fit the networks.
    """
    parts = _split(read_tensors(checkpoint))
    with torch.device("meta"):
        unet = build_unet(_read_config(base / "unet" / "config.json", optional=True))
        width = unet.get_submodule("conv_in").out_channels
        networks = Networks(unet, build_pose_net({"noise_latent_channels": width}), _vae(base), _image_encoder(base))
    _fill(networks.unet, parts.get("unet", {}), "the video network", checkpoint, dtype)
    if pose_net is not None:
        own = _split(read_tensors(pose_net), default="pose_net").get("pose_net", {})
        _fill(networks.pose_net, own, "the pose network", pose_net, dtype)
    elif "pose_net" in parts:
        _fill(networks.pose_net, parts["pose_net"], "the pose network", checkpoint, dtype)
    else:
        raise MissingWeights(
            f"{checkpoint.name} holds the video network alone; give the pose network's file with the option 'pose_net'."
        )
    for name, stem, what in (
        ("vae", "diffusion_pytorch_model", "the VAE"),
        ("image_encoder", "model", "the image encoder"),
    ):
        if name in parts:  # the released file holds neither; one that does is taken at its word
            _fill(getattr(networks, name), parts[name], what, checkpoint, dtype)
        else:
            path = _find(base / name, stem)
            _fill(getattr(networks, name), read_tensors(path), what, path, dtype)
    return networks


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint file, in safetensors or PyTorch's format; objects and code are refused.

    Raises:
        MissingWeights: no such file.
        InputError: the file is damaged or holds anything else than tensors.
    """
    if not path.is_file():
        raise MissingWeights(f"There is no checkpoint file {path}.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if head.startswith(b"version https://git-lfs"):
            raise InputError(f"{path.name} is only a pointer of Git LFS; download the file that it points to.")
        if path.suffix == ".safetensors":
            return load_file(path)
        # Old, unzipped files are few and need no mapping; the released one is 3 GB and zipped.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats of pickles that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        if head[:1] not in (b"P", b"\x80"):  # neither an archive nor a pickle
            raise InputError(f"{path.name} is not a checkpoint, or a damaged one; download it again.") from error
        raise InputError(
            f"{path.name} holds more than weights and could run code, so it was not read; get the original file."
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{path.name} is damaged or not a checkpoint; download it again.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path.name} is not a checkpoint of MimicMotion: it holds other things than named tensors.")
    return dict(state)


def _split(state: dict[str, torch.Tensor], default: str = "unet") -> dict[str, dict[str, torch.Tensor]]:
    """Sorts tensors by network; those without a network's prefix belong to ``default``."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        owner = next((name for name, prefix in PREFIXES.items() if key.startswith(prefix)), None)
        parts.setdefault(owner or default, {})[key.removeprefix(PREFIXES[owner]) if owner else key] = value
    return parts


def _find(folder: Path, stem: str) -> Path:
    """The safetensors file of one network of the base model, half precision first."""
    candidates = [folder / f"{stem}.fp16.safetensors", folder / f"{stem}.safetensors"]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingWeights(f"The base model is incomplete: there is no {candidates[0]}.")


def _read_config(path: Path, optional: bool = False) -> dict[str, Any]:
    if not path.is_file():
        if optional:
            return {}
        raise MissingWeights(f"The base model is incomplete: there is no {path}.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: it holds no configuration.")
    return config


def _vae(base: Path) -> nn.Module:
    path = base / "vae" / "config.json"
    config = {key: value for key, value in _read_config(path).items() if not key.startswith("_")}
    try:
        return AutoencoderKLTemporalDecoder(**config)
    except Exception as error:  # whatever the library makes of foreign entries
        raise InputError(f"{path} is not the configuration of Stable Video Diffusion's VAE.") from error


def _image_encoder(base: Path) -> nn.Module:
    path = base / "image_encoder" / "config.json"
    config = _read_config(path)
    try:
        model = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    except Exception as error:  # whatever the library makes of foreign entries
        raise InputError(f"{path} is not the configuration of a CLIP image encoder.") from error
    # Not kept in checkpoints; without this it would stay an empty tensor on the meta device.
    embeddings = model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions, device="cpu").expand((1, -1))
    return model


def _fill(module: nn.Module, state: dict[str, torch.Tensor], what: str, path: Path, dtype: torch.dtype) -> None:
    """Puts a state into a module that lies on the meta device."""
    wanted = module.state_dict()
    state = {key: value for key, value in state.items() if key in wanted or key not in OBSOLETE}
    problem = _difference({k: tuple(v.shape) for k, v in wanted.items()}, {k: tuple(v.shape) for k, v in state.items()})
    if problem:
        raise InputError(f"{path.name} does not fit {what}: {problem}.")
    unreal = [key for key, value in state.items() if not value.is_floating_point()]
    if unreal:
        raise InputError(f"{path.name} does not fit {what}: {_some(unreal)} are not of a floating-point type.")
    module.load_state_dict({key: value.to(dtype) for key, value in state.items()}, strict=True, assign=True)
    module.requires_grad_(False).eval()


def _difference(wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> str:
    """Says how two lists of shapes differ; empty where they do not."""
    if missing := sorted(wanted.keys() - given.keys()):
        return f"{len(missing)} of {len(wanted)} tensors are missing, e.g. {_some(missing)}"
    if extra := sorted(given.keys() - wanted.keys()):
        return f"{len(extra)} tensors are unknown, e.g. {_some(extra)}"
    for key, shape in wanted.items():
        if given[key] != shape:
            return f"{key} has the shape {given[key]}, not {shape}"
    return ""


def _some(keys: Iterable[str]) -> str:
    return ", ".join(list(keys)[:2])
