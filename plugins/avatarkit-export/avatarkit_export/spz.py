"""The Gaussians of one pose as SPZ, about a tenth of the PLY file (Niantic's format, version 2: every reader knows it)."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, Context
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import SH0, sh_degree_of
from avatarkit_export.files import check_options, check_suffix, provenance, write_file
from avatarkit_export.gaussians import posed_gaussians

__all__ = ["SpzExporter"]

log = logging.getLogger("avatarkit.export")

_MAGIC, _VERSION = b"NGSP", 2
_FRACTION = 16  # bits behind the point: steps of 15 micrometers, up to 128 m from the origin
_COLOR = 0.15  # a byte holds f_dc * 0.15 + 0.5
_LIMIT = (1 << 23) - 1  # 24 bits with sign


class SpzExporter:
    """SPZ: positions in 24-bit fixed point, one byte each for opacity, color channels and logarithms of scales, gzipped.

    Axes are avatarkit's world, which is the format's: x right, y up, z to the viewer; meters.
    """

    def __init__(self, config: None, context: Context) -> None:
        self.context = context

    def write(self, avatar: AvatarModel, params: BodyParams, path: Path, **options: Any) -> None:
        """See ``Exporter.write``; ``consent`` goes into the comment of the gzip header.

        Args:
            avatar: any.
            params: the pose.
            path: ends in .spz.
            options: as ``Exporter.write`` says.

        Raises:
            ConfigError, InputError, StoreError: unknown option; wrong suffix or a pose without Gaussians; disk.
        """
        check_options("spz", options)
        check_suffix(path, ".spz")
        g = posed_gaussians(avatar, params, self.context.get("body"))
        fixed = np.round(g.means.numpy() * (1 << _FRACTION)).astype(np.int64)
        if np.abs(fixed).max() > _LIMIT:
            raise InputError(f"The avatar stands more than {_LIMIT >> _FRACTION} m from the origin, which SPZ cannot hold.")
        places = fixed.astype("<i4").view(np.uint8).reshape(-1, 3, 4)[..., :3]  # the three lower bytes
        rotation, scales = (t.numpy() for t in g.axes())
        rotation = rotation * np.where(rotation[:, :1] < 0, -1, 1)  # w, which is left out, is positive
        degree = 0 if g.sh is None else sh_degree_of(g.sh)
        harmonics = np.zeros(0) if g.sh is None else g.sh.numpy()
        if cut := int((np.abs(harmonics) > 1).sum()):
            log.warning("SPZ holds spherical harmonics from -1 to 1: %d of %d values were cut there.", cut, harmonics.size)
        parts = [
            _MAGIC + struct.pack("<IIBBBB", _VERSION, len(g), degree, _FRACTION, 0, 0),
            places.tobytes(),
            _byte(g.opacities.numpy() * 255).tobytes(),
            _byte(((g.colors.numpy() - 0.5) / SH0 * _COLOR + 0.5) * 255).tobytes(),
            _byte((np.log(scales) + 10) * 16).tobytes(),
            _byte((rotation[:, 1:] + 1) * 127.5).tobytes(),
            _byte(harmonics * 128 + 128).tobytes(),
        ]
        write_file(path, _gzip(b"".join(parts), provenance(options)))


def _byte(values: np.ndarray) -> np.ndarray:
    return np.round(values).clip(0, 255).astype(np.uint8)


def _gzip(data: bytes, comment: str) -> bytes:
    """Compress with gzip, with a comment in the header (RFC 1952, FCOMMENT).

    Python's module does not write comments.
    """
    text = comment.encode("ascii", "backslashreplace").replace(b"\0", b" ") + b"\0"
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    head = b"\x1f\x8b\x08" + bytes([1 << 4]) + b"\0\0\0\0\x02\xff" + text
    return head + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
