"""Reads third-party checkpoints strictly: names and shapes must match, and no code is executed."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from avatarkit.errors import InputError, MissingWeights
from avatarkit.utils.files import read_text
from avatarkit.utils.plain import BadText, parse_json

__all__ = ["fill", "flat", "read_settings", "read_state"]

# Exceptions of the readers for files that are truncated, empty or of another format.
_DAMAGED = (
    *(SafetensorError, RuntimeError, ValueError, TypeError, LookupError, EOFError, OSError, AttributeError),
    *(MemoryError, struct.error, RecursionError, ArithmeticError),
)
_MOST_SETTINGS = 16 << 20  # size limit, bytes
_MOST_LEVELS = 16  # limit of nested dictionaries in a state
_MOST_TENSORS = 200_000


def read_state(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file in safetensors or PyTorch format.

    Objects and code are refused.

    Raises:
        MissingWeights: the file does not exist.
        InputError: the file is damaged, is not a mapping, or could run code.
    """
    if not path.is_file():
        raise MissingWeights(f"There is no checkpoint file {path}.")
    _check_header(path)
    head = b""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise InputError(f"{path.name} is only a pointer of Git LFS; download the file that it points to.")
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        # Files in the old, unzipped format are small and need no memory mapping.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warns about pickle formats that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        if head[:1] not in (b"P", b"\x80"):  # neither an archive nor a pickle
            raise InputError(f"{path.name} is not a checkpoint, or a damaged one; download it again.") from error
        raise InputError(
            f"{path.name} contains more than weights and could run code, so it was not read. Download the original file."
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{path.name} is damaged or not a checkpoint; download it again.") from error
    if not isinstance(state, Mapping):
        raise InputError(f"{path.name} is not the right checkpoint: it contains more than named tensors.")
    return dict(state)


def _check_header(path: Path) -> None:
    """Check the length of the tensor list in a safetensors file.

    The list is read completely; the largest networks have a few megabytes.
    """
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if _MOST_SETTINGS < length < 1 << 32:  # larger values mean another file format, which is reported below
            raise InputError(f"{path.name} is damaged or not a checkpoint; download it again.")


def flat(state: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Flatten nested dictionaries, joining names by dots.

    Raises:
        InputError: a value is neither a tensor nor a dictionary.
    """
    tensors: dict[str, torch.Tensor] = {}
    level: list[tuple[str, Mapping[str, Any]]] = [("", state)]
    for _ in range(_MOST_LEVELS):
        below: list[tuple[str, Mapping[str, Any]]] = []
        for name, table in level:
            for key, value in table.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{name}{key}"] = value
                elif isinstance(value, Mapping):
                    below.append((f"{name}{key}.", value))
                else:
                    raise InputError(f"{path.name} is not the right checkpoint: it contains more than named tensors.")
        if not below:
            return tensors
        if len(below) + len(tensors) > _MOST_TENSORS:
            break
        level = below
    raise InputError(f"{path.name} is not the right checkpoint: its tables are nested too deeply.")


def read_settings(path: Path, optional: bool = False) -> dict[str, Any]:
    """Return the JSON settings file of a checkpoint.

    An optional file that is missing gives empty settings.

    Raises:
        MissingWeights: the file is missing.
        InputError: the file is damaged.
    """
    if not path.is_file():
        if optional:
            return {}
        raise MissingWeights(f"The weights are incomplete: {path} is missing. Download them again.")
    try:
        settings = parse_json(read_text(path, "file of settings", _MOST_SETTINGS))
    except BadText as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} is damaged: it contains no settings. Download it again.")
    return settings


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], what: str, path: Path, dtype: torch.dtype | None = None) -> None:
    """Load a state into a network on the meta device and set it to evaluation mode.

    Args:
        network: network to fill.
        state: exactly its tensors.
        what: readable name of the network.
        path: checkpoint file, for messages.
        dtype: type of the floating-point tensors; None = the network's own.

    Raises:
        InputError: a tensor is missing, unknown, or of another shape or type.
    """
    wanted = network.state_dict()
    problem = _difference({k: tuple(v.shape) for k, v in wanted.items()}, {k: tuple(v.shape) for k, v in state.items()})
    if not problem and (odd := [k for k, v in state.items() if v.is_floating_point() != wanted[k].is_floating_point()]):
        problem = f"{_some(odd)} are of another type"
    if problem:
        raise InputError(f"{path.name} does not fit {what}: {problem}.")
    types = {k: dtype if dtype is not None and v.is_floating_point() else v.dtype for k, v in wanted.items()}
    network.load_state_dict({k: v.to(types[k]) for k, v in state.items()}, strict=True, assign=True)
    network.requires_grad_(False).eval()


def _difference(wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> str:
    """Describe how two lists of shapes differ; empty if they are equal."""
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
