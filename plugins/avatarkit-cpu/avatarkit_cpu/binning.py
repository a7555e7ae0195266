"""Kernels that sort Gaussians by depth and deal them out to tiles."""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import numpy as np

from avatarkit_cpu.compiled import kernel

__all__ = ["count_tiles", "depth_order", "fill_tiles", "slot_offsets"]

_DIGIT = 11  # bits per pass of the radix sort


def depth_order(tiles: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """(M,) int32: the Gaussians that are seen, near to far; of equal depth the lower number first."""
    if depths.dtype == np.float32:
        return _radix_order(tiles, depths.view(np.uint32))
    seen = np.flatnonzero(tiles[:, 0] < tiles[:, 1])
    return seen[np.argsort(depths[seen], kind="stable")].astype(np.int32)


@kernel
def _radix_order(tiles, bits):
    """Sorts by the bits of positive floats, whose order is that of the floats; takes only the digits that differ."""
    count = 0
    low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(len(tiles)):
        if tiles[i, 0] < tiles[i, 1]:
            count += 1
            low, high = min(low, bits[i]), max(high, bits[i])
    keys, order = np.empty(count, np.uint32), np.empty(count, np.int32)
    n = 0
    for i in range(len(tiles)):
        if tiles[i, 0] < tiles[i, 1]:
            keys[n], order[n] = bits[i] - low, i
            n += 1
    other_keys, other_order = np.empty(count, np.uint32), np.empty(count, np.int32)
    mask = np.uint32((1 << _DIGIT) - 1)
    shift = np.uint32(0)
    while count and (high - low) >> shift:
        starts = np.zeros((1 << _DIGIT) + 1, np.int64)
        for n in range(count):
            starts[np.int64((keys[n] >> shift) & mask) + 1] += 1
        for digit in range(1 << _DIGIT):
            starts[digit + 1] += starts[digit]
        for n in range(count):
            digit = np.int64((keys[n] >> shift) & mask)
            at = starts[digit]
            starts[digit] += 1
            other_keys[at], other_order[at] = keys[n], order[n]
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
        shift += np.uint32(_DIGIT)
        if shift >= np.uint32(32):
            break
    return order


@kernel
def slot_offsets(tiles):
    """(N + 1,) int64: Gaussian i owns slots offsets[i] to offsets[i + 1], one per tile, row by row."""
    offsets = np.empty(len(tiles) + 1, np.int64)
    at = 0
    for i in range(len(tiles)):
        offsets[i] = at
        wide = np.int64(tiles[i, 1] - tiles[i, 0])
        if wide > 0:
            at += wide * np.int64(tiles[i, 3] - tiles[i, 2])
    offsets[len(tiles)] = at
    return offsets


@kernel
def count_tiles(start, stop, order, tiles, across, counts):
    """Counts Gaussians per tile: counts (parts, tiles) in rows start to stop; each takes its share of ``order``."""
    parts = len(counts)
    for part in range(start, stop):
        for n in range(len(order) * part // parts, len(order) * (part + 1) // parts):
            i = order[n]
            for row in range(tiles[i, 2], tiles[i, 3]):
                for column in range(tiles[i, 0], tiles[i, 1]):
                    counts[part, row * across + column] += 1


@kernel
def fill_tiles(start, stop, order, tiles, across, cursors, lists):
    """Writes the lists of the tiles, near to far; cursors (parts, tiles) say where each part of ``order`` begins."""
    parts = len(cursors)
    for part in range(start, stop):
        for n in range(len(order) * part // parts, len(order) * (part + 1) // parts):
            i = order[n]
            for row in range(tiles[i, 2], tiles[i, 3]):
                for column in range(tiles[i, 0], tiles[i, 1]):
                    tile = row * across + column
                    lists[cursors[part, tile]] = i
                    cursors[part, tile] += 1
