"""Reads checkpoints, strictly: names and shapes must match, and no code is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.labelling.checkpoints import fill, flat, read_settings, read_state
from avatarkit_liveportrait.config import FILES, VECTORS_FILE, find_file
from avatarkit_liveportrait.model import build_networks

__all__ = ["load_networks"]

VECTORS = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}


def load_networks(folder: Path) -> dict[str, nn.Module]:
    """Build all networks, in evaluation mode on the CPU, from the folder of released files.

    A ``config.json`` beside them (network -> settings, see ``model.RELEASED``) tells of networks of other sizes.

    Raises:
        MissingWeights: a file is not there.
        InputError: a file is damaged, is no checkpoint, or does not fit its network.
    """
    with torch.device("meta"):
        networks = build_networks(_settings(folder / "config.json"))
    for name in FILES:
        path = _find(folder, name)
        fill(networks[name], flat(read_state(path), path), f"the network {name!r}", path)
    path = _find(folder, VECTORS_FILE)
    state = flat(read_state(path), path)
    foreign = [key for key in state if not key.startswith(tuple(VECTORS.values()))]
    if foreign:
        raise InputError(f"{path.name} does not fit: {len(foreign)} tensors are unknown, e.g. {foreign[0]}.")
    for name, prefix in VECTORS.items():
        own = {_bare(key.removeprefix(prefix)): value for key, value in state.items() if key.startswith(prefix)}
        fill(networks[name], own, f"the network {name!r}", path)
    return networks


def _find(folder: Path, stem: str) -> Path:
    path = find_file(folder, stem)
    if path is None:
        raise MissingWeights(f"The folder of LivePortrait's weights {folder} has no {stem}.pth and no {stem}.safetensors.")
    return path


def _settings(path: Path) -> dict[str, Any]:
    settings = read_settings(path, optional=True)
    if not all(isinstance(value, dict) for value in settings.values()):
        raise ConfigError(f"{path} holds no settings of networks.")
    return settings


def _bare(key: str) -> str:
    """Return a tensor's name without the prefix of data-parallel training."""
    return key.lstrip("._").removeprefix("module.")
