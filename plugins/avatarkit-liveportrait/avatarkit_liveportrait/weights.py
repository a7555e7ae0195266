"""Reads checkpoints, strictly: every tensor has its place, every place its tensor, and nothing in a file is run."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit_liveportrait.model import build_networks

__all__ = ["load_networks", "read_tensors"]

FILES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
VECTORS_FILE = "stitching_retargeting_module"
VECTORS = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
# As the authors lay the files out, and flat, as others copy them.
FOLDERS = ("base_models", "retargeting_models", "liveportrait/base_models", "liveportrait/retargeting_models", ".")

# What readers raise on files that are cut, empty or of another kind.
_DAMAGED = (
    *(SafetensorError, RuntimeError, ValueError, TypeError, LookupError, EOFError, OSError, AttributeError),
    *(MemoryError, struct.error),
)


def load_networks(folder: Path) -> dict[str, nn.Module]:
    """Builds all networks, in evaluation mode on the CPU, from the folder of released files.

    A ``config.json`` beside them (network -> settings, see ``model.RELEASED``) tells of networks of other sizes.

    Raises:
        MissingWeights: a file is not there.
        InputError: a file is damaged, is no checkpoint, or does not fit its network.
    """
    with torch.device("meta"):
        networks = build_networks(_read_config(folder / "config.json"))
    for name in FILES:
        path = _find(folder, name)
        _fill(networks[name], _flat(read_tensors(path), path), name, path)
    path = _find(folder, VECTORS_FILE)
    state = _flat(read_tensors(path), path)
    foreign = [key for key in state if not key.startswith(tuple(VECTORS.values()))]
    if foreign:
        raise InputError(f"{path.name} does not fit: {len(foreign)} tensors are unknown, e.g. {_some(foreign)}.")
    for name, prefix in VECTORS.items():
        own = {_bare(key.removeprefix(prefix)): value for key, value in state.items() if key.startswith(prefix)}
        _fill(networks[name], own, name, path)
    return networks


def read_tensors(path: Path) -> Mapping[str, Any]:
    """The named tensors of a checkpoint file, in safetensors or PyTorch's format; objects and code are refused.

    Raises:
        MissingWeights: no such file.
        InputError: the file is damaged, or could run code.
    """
    if not path.is_file():
        raise MissingWeights(f"There is no checkpoint file {path}.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise InputError(f"{path.name} is only a pointer of Git LFS; download the file that it points to.")
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats of pickles that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
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
    if not isinstance(state, Mapping):
        raise InputError(f"{path.name} is not a checkpoint of LivePortrait: it holds other things than named tensors.")
    return state


def _find(folder: Path, stem: str) -> Path:
    for place in FOLDERS:
        for suffix in (".safetensors", ".pth"):
            if (path := folder / place / f"{stem}{suffix}").is_file():
                return path
    raise MissingWeights(f"The folder of LivePortrait's weights {folder} has no {stem}.pth and no {stem}.safetensors.")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(config, dict) or not all(isinstance(value, dict) for value in config.values()):
        raise ConfigError(f"{path} holds no settings of networks.")
    return config


def _flat(state: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Joins the names of nested dictionaries by dots."""
    flat: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            flat[str(key)] = value
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": tensor for inner, tensor in _flat(value, path).items()}
        else:
            raise InputError(f"{path.name} is not a checkpoint of LivePortrait: it holds other things than named tensors.")
    return flat


def _bare(key: str) -> str:
    """Key of a vector network without what data-parallel training put in front."""
    return key.lstrip("._").removeprefix("module.")


def _fill(network: nn.Module, state: dict[str, torch.Tensor], what: str, path: Path) -> None:
    """Puts a state into a network that lies on the meta device."""
    wanted = network.state_dict()
    problem = _difference({k: tuple(v.shape) for k, v in wanted.items()}, {k: tuple(v.shape) for k, v in state.items()})
    if not problem and (odd := [k for k, v in state.items() if v.is_floating_point() != wanted[k].is_floating_point()]):
        problem = f"{_some(odd)} are of another type"
    if problem:
        raise InputError(f"{path.name} does not fit the network '{what}': {problem}.")
    network.load_state_dict({k: v.to(wanted[k].dtype) for k, v in state.items()}, strict=True, assign=True)
    network.requires_grad_(False).eval()


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
