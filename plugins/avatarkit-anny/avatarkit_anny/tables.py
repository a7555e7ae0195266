"""The cache file of the body model's tables: made when first needed, read in a fraction of a second afterwards."""

from __future__ import annotations

import json
import logging
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avatarkit.errors import StoreError
from avatarkit.interfaces import Context
from avatarkit.utils.files import write_bytes
from avatarkit_anny.build import Tables, build_tables

__all__ = ["load_tables"]

logger = logging.getLogger("avatarkit.anny")

REVISION = 2  # raise it when the tables change


def load_tables(context: Context) -> tuple[Tables, dict]:
    """Return the tables of ``build_tables``, from the cache if they are there.

    Any number of processes may do this at once. A damaged file is made anew; a cache that cannot be written is no
    error, it only costs the time again.
    """
    path = context.cache / "anny" / f"tables-{version('anny')}-{REVISION}.safetensors"
    if path.exists():
        try:
            return _read(path)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            logger.warning("%s is damaged (%s); making it again.", path.name, error)
    arrays, names = build_tables(lambda message, fraction: context.progress(f"body model: {message}", fraction))
    try:
        _write(path, arrays, names)
    except StoreError as error:
        logger.warning("The body model's tables cannot be kept: %s", error)
    context.progress("body model: ready", 1.0)
    return arrays, names


def _checksum(arrays: Tables) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).data, total)
    return total


def _write(path: Path, arrays: Tables, names: dict) -> None:
    metadata = {"names": json.dumps(names), "crc32": str(_checksum(arrays))}
    write_bytes(path, save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata))


def _read(path: Path) -> tuple[Tables, dict]:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if _checksum(arrays) != int(metadata["crc32"]):
        raise ValueError("wrong checksum")
    return arrays, json.loads(metadata["names"])
