"""Arrays of numbers and short texts from npz files of any origin: bounds are checked before memory is taken, nothing is run."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from avatarkit.errors import InputError
from avatarkit.utils.files import require_file

__all__ = ["read_npz"]

_MOST_FILE_BYTES = 1 << 30
_MOST_DIRECTORY_BYTES = 1 << 18
_MOST_MEMBERS = 1000
_MOST_HEADER_BYTES = 1 << 12
_MOST_LETTERS = 1000  # of one text
_MOST_AXES = 8
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError, MemoryError)

# The header as NumPy writes it; Python expressions of other kinds, structured types among them, are not looked into.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?)([biufUS])(\d{1,6})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}L?, ?)*\d{0,15}L?,?)\),? *\}\s*"
)


def read_npz(path: Path, wanted: Collection[str], most_bytes: int, what: str = "npz file") -> dict[str, np.ndarray]:
    """Read some of the arrays of an npz file; others are never unpacked.

    Args:
        path: of the file.
        wanted: names of arrays.
        most_bytes: that all of them together may unpack to.
        what: the file should be, for messages.

    Returns:
        Name -> array, for those of ``wanted`` that are there. Arrays of Python objects and of structures are left out, as reading
        them could run code.

    Raises:
        InputError: it is not an npz file, damaged or too large.
    """
    require_file(path, what, _MOST_FILE_BYTES)
    found: dict[str, np.ndarray] = {}
    left = most_bytes
    try:
        with path.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                members = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}
                for name, member in members.items():
                    if name not in wanted:
                        continue
                    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise ValueError("packed in a way that NumPy never does")
                    left -= member.file_size
                    if left < 0:
                        raise InputError(f"{path.name} unpacks to more than {most_bytes / 1e6:,.0f} MB; cut it into parts.")
                    with archive.open(member) as stream:
                        array = _array(stream, member.file_size)
                    if array is not None:
                        found[name] = array
    except _DAMAGE as error:
        raise InputError(f"{path.name} is a damaged npz file; save or download it again.") from error
    return found


def _check_directory(file: IO[bytes]) -> None:
    """Check the size of the list of members, which ``zipfile`` reads as a whole; ours have a few kilobytes."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_600))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise ValueError("no end of an archive")
    members = int.from_bytes(tail[at + 10 : at + 12], "little")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if members > _MOST_MEMBERS or directory > _MOST_DIRECTORY_BYTES or b"PK\x06\x07" in tail[max(0, at - 20) : at]:
        raise ValueError("an archive of too many members")


def _array(stream: IO[bytes], size: int) -> np.ndarray | None:
    """One npy member of ``size`` bytes; None for Python objects and structures."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("no array")
    width = 2 if start[6:7] == b"\x01" else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError("an impossible header")
    header = stream.read(length)
    match = _HEADER.fullmatch(header)
    if match is None:
        if len(header) == length and header.startswith(b"{'descr': "):
            return None
        raise ValueError("an impossible header")
    order, kind, item, fortran, axes = (group.decode("ascii") for group in match.groups())
    if int(item) > (_MOST_LETTERS if kind in "US" else 8):
        raise ValueError("an impossible type")
    dtype = np.dtype(f"{order}{kind}{item}")
    shape = tuple(int(n) for n in axes.replace("L", "").split(",") if n.strip())
    count = math.prod(shape)
    if len(shape) > _MOST_AXES or max(shape, default=0) > size or count * dtype.itemsize > size - 8 - width - length:
        raise ValueError("an array is cut short")
    if not dtype.itemsize and count > 1:
        raise ValueError("an array of empty texts")
    flat = np.zeros(count, dtype)
    if flat.nbytes:
        _fill(stream, flat.view(np.uint8).data)
    if kind == "U" and flat.view(flat.dtype.byteorder.replace("|", "=") + "u4").max(initial=0) > 0x10FFFF:
        raise ValueError("an impossible text")
    return flat.reshape(shape, order="F" if fortran == "True" else "C")


def _fill(stream: IO[bytes], target: memoryview) -> None:
    """Read piece by piece, so that nothing is held twice."""
    at = 0
    while at < len(target):
        piece = stream.read(min(1 << 20, len(target) - at))
        if not piece:
            raise ValueError("an array is cut short")
        target[at : at + len(piece)] = piece
        at += len(piece)
