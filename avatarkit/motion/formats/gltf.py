"""Reads glTF 2.0 files of any origin (.gltf, .glb, .vrm, .vrma): nodes, skins and animations. Bounds are checked first."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import InputError
from avatarkit.utils.files import require_file

__all__ = ["Gltf", "is_gltf"]

_MOST_FILE_BYTES = 600 << 20
_MOST_JSON_BYTES = 64 << 20
_MOST_NODES = 20_000
_MOST_VALUES = 60_000_000  # limit of the numbers of one accessor
_JSON, _BINARY = 0x4E4F534A, 0x004E4942  # types of the chunks of a GLB file
_TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_DAMAGE = (
    KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError, RecursionError, struct.error, binascii.Error,
)  # fmt: skip


def is_gltf(head: bytes) -> bool:
    """Return whether a file that starts with ``head`` is a glTF file."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return head[:4] == b"glTF" or (start[:1] == b"{" and (b'"asset"' in head or b'"accessors"' in head or b'"nodes"' in head))


class Gltf:
    """A glTF file.

    Args:
        path: the file; its buffers are inside it, or beside it in the same folder.

    Attributes:
        name: file name, for messages.
        data: the JSON object.
        parents: number of each node's parent, -1 for roots.

    Raises:
        InputError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        require_file(path, "motion file", _MOST_FILE_BYTES)
        self.name, self._folder = path.name, path.parent
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        self._buffers: dict[int, bytes] = {}
        self._inside: bytes | None = None
        try:
            text = self._chunks(content) if content[:4] == b"glTF" else content
            if len(text) > _MOST_JSON_BYTES:
                raise ValueError("too much JSON")
            self.data: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
            self.parents = self._tree()
        except _DAMAGE as error:
            raise self.damaged() from error

    def damaged(self) -> InputError:
        """Return the error for contents that do not fit together."""
        return InputError(f"{self.name} is a damaged glTF file; export it again.")

    def _chunks(self, content: bytes) -> bytes:
        """Return the JSON of a GLB file, and keep its buffer."""
        version, length = struct.unpack_from("<2I", content, 4)
        if version != 2 or length > len(content):
            raise ValueError("version or length")
        at, text = 12, b""
        while at + 8 <= length:
            size, kind = struct.unpack_from("<2I", content, at)
            if at + 8 + size > length:
                raise ValueError("a chunk is cut short")
            if kind == _JSON and not text:
                text = content[at + 8 : at + 8 + size]
            elif kind == _BINARY and self._inside is None:
                self._inside = content[at + 8 : at + 8 + size]
            at += 8 + size + (-size % 4)
        return text

    def _tree(self) -> list[int]:
        nodes = self.data.get("nodes", [])
        if not isinstance(nodes, list) or len(nodes) > _MOST_NODES:
            raise ValueError("nodes")
        parents = [-1] * len(nodes)
        for j, node in enumerate(nodes):
            for child in node.get("children", []):
                if not 0 <= child < len(nodes) or parents[child] >= 0:
                    raise ValueError("a node has two parents")
                parents[child] = j
        for j in range(len(nodes)):
            seen, k = 0, j
            while k >= 0:
                k, seen = parents[k], seen + 1
                if seen > len(nodes) or seen > 1000:
                    raise ValueError("nodes in a circle")
        return parents

    def array(self, index: int) -> np.ndarray:
        """Return an accessor as float64, (n,) or (n, components); normalized integers become fractions.

        Raises:
            InputError: it is damaged, or sparse.
        """
        try:
            return self._array(self.data["accessors"][index])
        except _DAMAGE as error:
            raise self.damaged() from error

    def _array(self, accessor: Mapping[str, Any]) -> np.ndarray:
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError("sparse")
        view = self.data["bufferViews"][accessor["bufferView"]]
        dtype, width, count = np.dtype(_COMPONENTS[accessor["componentType"]]), _TYPES[accessor["type"]], int(accessor["count"])
        if not 0 < count * width <= _MOST_VALUES:
            raise ValueError("count")
        start, size = int(view.get("byteOffset", 0)), int(view["byteLength"])
        offset, stride = int(accessor.get("byteOffset", 0)), int(view.get("byteStride", dtype.itemsize * width))
        used = stride * (count - 1) + dtype.itemsize * width
        buffer = self._buffer(int(view["buffer"]))
        if min(start, size, offset) < 0 or stride < dtype.itemsize * width or offset + used > size or start + size > len(buffer):
            raise ValueError("bounds")
        values = np.ndarray((count, width), dtype, buffer, start + offset, (stride, dtype.itemsize)).astype(np.float64)
        if accessor.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype).max, -1.0)
        if not np.isfinite(values).all():
            raise ValueError("numbers")
        return values[:, 0] if width == 1 else values

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self.data["buffers"][index].get("uri")
            if uri is None:
                if self._inside is None:
                    raise ValueError("no buffer")
                self._buffers[index] = self._inside
            elif uri.startswith("data:"):
                self._buffers[index] = base64.b64decode(uri.partition(",")[2], validate=True)
            else:
                self._buffers[index] = self._beside(uri)
        return self._buffers[index]

    def _beside(self, uri: str) -> bytes:
        """Return a file of the same folder; others are not looked at."""
        from urllib.parse import unquote

        name = unquote(uri)
        if Path(name).name != name or "\\" in name or ":" in name or name in ("", ".", ".."):
            raise InputError(f"{self.name} refers to data in another folder or on the network; export it as .glb.")
        path = self._folder / name
        require_file(path, f"file, which {self.name} needs,", _MOST_FILE_BYTES)
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error

    def local(self, node: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return translation (3,), rotation (4,) xyzw and scale (3,) of a node at rest.

        Raises:
            InputError: the numbers are impossible.
        """
        from scipy.spatial.transform import Rotation

        try:
            facts = self.data["nodes"][node]
            if "matrix" in facts:
                M = self._numbers(facts["matrix"], 16).reshape(4, 4).T
                scale = np.linalg.norm(M[:3, :3], axis=0)
                if scale.min() <= 0 or np.linalg.det(M[:3, :3]) <= 0:
                    raise ValueError("matrix")
                return M[:3, 3], Rotation.from_matrix(M[:3, :3] / scale).as_quat(), scale
            turn = self._numbers(facts.get("rotation", (0, 0, 0, 1)), 4)
            scale = self._numbers(facts.get("scale", (1, 1, 1)), 3)
            if not turn.any() or not scale.all():
                raise ValueError("rotation or scale")
            return self._numbers(facts.get("translation", (0, 0, 0)), 3), turn / np.linalg.norm(turn), scale
        except _DAMAGE as error:
            raise self.damaged() from error

    @staticmethod
    def _numbers(values: Sequence[float], count: int) -> np.ndarray:
        array = np.array(values, dtype=np.float64)
        if array.shape != (count,) or not np.isfinite(array).all() or np.abs(array).max() > 1e9:
            raise ValueError("numbers")
        return array
