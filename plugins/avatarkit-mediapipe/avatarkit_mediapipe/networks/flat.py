"""Readers of FlatBuffers tables and FlexBuffers maps, which files of TensorFlow Lite consist of.

The formats are described at https://flatbuffers.dev/internals/ and https://flatbuffers.dev/flexbuffers/.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ["Table", "flexible_map", "root"]


_READERS = {code: struct.Struct(f"<{code}").unpack_from for code in "bHiI"}  # a format is looked up slower than it is read


class Table:
    """One table: fields by number, absent ones have a default.

    Args:
        data: the whole file.
        at: position of the table.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        fields = at - _READERS["i"](data, at)[0]
        size = _READERS["H"](data, fields)[0]
        self._offsets = data[fields + 4 : fields + size]  # two bytes per field

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Return an integer; ``code`` is its type as in ``struct``."""
        at = self._field(field)
        value: int = _READERS[code](self._data, at)[0] if at else default
        return value

    def table(self, field: int) -> Table | None:
        """Return a table, None where absent."""
        at = self._field(field)
        return Table(self._data, at + _READERS["I"](self._data, at)[0]) if at else None

    def tables(self, field: int) -> list[Table]:
        """Return a vector of tables."""
        places = self.array(field, "<u4")
        if not len(places):
            return []
        start = self._vector(field) + 4
        return [Table(self._data, start + 4 * k + int(place)) for k, place in enumerate(places)]

    def array(self, field: int, dtype: str) -> np.ndarray:
        """Return a vector of numbers, a view of the file; empty where absent."""
        if not self._field(field):
            return np.zeros(0, dtype)
        at = self._vector(field)
        return np.frombuffer(self._data, dtype, _READERS["I"](self._data, at)[0], at + 4)

    def text(self, field: int) -> str:
        """Return a string; empty where absent."""
        return self.array(field, "u1").tobytes().decode()

    def _vector(self, field: int) -> int:
        at = self._field(field)
        place: int = at + _READERS["I"](self._data, at)[0]
        return place

    def _field(self, field: int) -> int:
        """Return the position of a field, 0 where absent."""
        low = 2 * field
        offset = self._offsets[low] | self._offsets[low + 1] << 8 if low < len(self._offsets) else 0
        return self._at + offset if offset else 0


def root(data: bytes) -> Table:
    """Return the outermost table of a file."""
    return Table(data, struct.unpack_from("<I", data)[0])


_INTEGER, _UNSIGNED, _FLOAT, _MAP, _INTEGERS, _UNSIGNEDS = 1, 2, 3, 9, 11, 12
_CODES = {_INTEGER: "bhiq", _UNSIGNED: "BHIQ", _FLOAT: "?efd"}  # of struct, for 1, 2, 4 and 8 bytes


def flexible_map(data: bytes) -> dict[str, Any]:
    """Return a FlexBuffers map of numbers and vectors of integers."""

    def scalar(kind: int, at: int, width: int) -> Any:
        return struct.unpack_from("<" + _CODES[kind][width.bit_length() - 1], data, at)[0]

    def target(at: int, width: int) -> int:
        return at - int(scalar(_UNSIGNED, at, width))

    def value(packed: int, at: int, width: int) -> Any:
        kind, size = packed >> 2, 1 << (packed & 3)
        if kind in _CODES:
            return scalar(kind, at, width)
        if kind in (_INTEGERS, _UNSIGNEDS):
            start = target(at, width)
            count = scalar(_UNSIGNED, start - size, size)
            return [scalar(kind - 10, start + size * k, size) for k in range(count)]
        raise ValueError(f"FlexBuffers: values of type {kind} are not read")

    width = data[-1]
    packed, at = data[-2], len(data) - 2 - width
    if packed >> 2 != _MAP:
        raise ValueError("FlexBuffers: no map")
    start, size = target(at, width), 1 << (packed & 3)
    count = scalar(_UNSIGNED, start - size, size)
    keys, key_size = target(start - 3 * size, size), scalar(_UNSIGNED, start - 2 * size, size)
    found = {}
    for k in range(count):
        name = target(keys + key_size * k, key_size)
        found[data[name : data.index(0, name)].decode()] = value(data[start + size * count + k], start + size * k, size)
    return found
