"""A glTF 2.0 document under construction, and its binary form GLB (Khronos glTF 2.0, section 4)."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from avatarkit.utils.text import json_safe

__all__ = ["Gltf"]

_COMPONENT = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
_TYPE = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTICES, INDICES = 34962, 34963  # what a buffer view is for


class Gltf:
    """Collects JSON and one binary buffer.

    Attributes:
        document: the JSON object; lists are filled with ``add``.
    """

    def __init__(self, generator: str, extras: dict[str, Any]) -> None:
        self.document: dict[str, Any] = {"asset": {"version": "2.0", "generator": generator, "extras": extras}}
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append to one of the document's lists; returns the number."""
        self.document.setdefault(kind, []).append(item)
        return len(self.document[kind]) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """Return a buffer view of bytes."""
        item = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)}
        padded = data + b"\0" * (-len(data) % 4)
        self._parts.append(padded)
        self._length += len(padded)
        return self.add("bufferViews", item if target is None else {**item, "target": target})

    def accessor(self, array: np.ndarray, target: int | None = None, bounds: bool = False, normalized: bool = False) -> int:
        """Return an accessor of (n,) or (n, 2, 3, 4 or 16) numbers.

        ``bounds`` writes their range.

        ``normalized``: integers stand for 0 to 1.
        """
        item = {"bufferView": self.view(_bytes(array), target), **_described(array)}
        if normalized:
            item["normalized"] = True
        return self.add("accessors", {**item, **_bounds(array)} if bounds else item)

    def sparse(self, count: int, numbers: np.ndarray, values: np.ndarray) -> int:
        """Add an accessor of ``count`` float vectors with its range and return its number.

        ``values`` (n, 3) are at ``numbers`` (n,), all others are zero.
        """
        if not len(numbers):  # the format wants one at least
            numbers, values = np.zeros(1, np.int64), np.zeros((1, 3))
        index = numbers.astype(np.uint16 if count <= 1 << 16 else np.uint32)
        values = values.astype(np.float32)
        whole = values if len(values) == count else np.concatenate([values, np.zeros((1, 3), np.float32)])
        return self.add("accessors", {
            **_described(values), **_bounds(whole), "count": count,
            "sparse": {
                "count": len(index),
                "indices": {"bufferView": self.view(_bytes(index)), "componentType": _COMPONENT[index.dtype.name]},
                "values": {"bufferView": self.view(_bytes(values))},
            },
        })  # fmt: skip

    def glb(self) -> list[bytes]:
        """Return the parts of the file, in order."""
        self.document["buffers"] = [{"byteLength": self._length}]
        document = json.dumps(self.document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text = json_safe(document).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        head = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
        return [head, text, struct.pack("<I4s", self._length, b"BIN\0"), *self._parts]


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _described(array: np.ndarray) -> dict[str, Any]:
    width = 1 if array.ndim == 1 else array.shape[1]
    return {"componentType": _COMPONENT[array.dtype.name], "type": _TYPE[width], "count": len(array)}


def _bounds(array: np.ndarray) -> dict[str, Any]:
    rows = array.reshape(len(array), -1)
    return {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
