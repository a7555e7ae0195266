"""Kernels that sort Gaussians by depth and deal them out to tiles."""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import numpy as np

from avatarkit_cpu.buffers import Buffers
from avatarkit_cpu.compiled import kernel
from avatarkit_cpu.simd import prefetch

__all__ = ["count_tiles", "depth_order", "fill_tiles", "slot_offsets"]

_DIGIT = 8  # bits per pass of the radix sort
_AHEAD = 16  # Gaussians whose tiles are asked for in advance


def depth_order(tiles: np.ndarray, depths: np.ndarray, buffers: Buffers) -> np.ndarray:
    """Return the visible Gaussians, near to far, (M,) int32.

    At equal depth the lower number comes first.
    """
    if depths.dtype == np.float32:
        keys, orders = buffers.lend(2 * len(depths), np.uint32), buffers.lend(2 * len(depths), np.int32)
        start, count = _radix_order(tiles.reshape(-1), depths.view(np.uint32), keys, orders)
        return orders[start : start + count].copy()
    tiles = tiles.reshape(-1, 4)
    seen = np.flatnonzero(tiles[:, 0] < tiles[:, 1])
    return seen[np.argsort(depths[seen], kind="stable")].astype(np.int32)


@kernel
def _radix_order(tiles, bits, keys, orders):
    """Sort by the bits of positive floats, whose order is that of the floats.

    Takes only the digits that differ.

    Returns:
        Where in orders (2 * N,) the result begins, and its length; keys (2 * N,) is scratch.
    """
    size = len(bits)
    count = 0
    low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(size):
        if tiles[4 * i] < tiles[4 * i + 1]:
            keys[count], orders[count] = bits[i], i
            low, high = min(low, bits[i]), max(high, bits[i])
            count += 1
    span = high - low if count else np.uint32(0)
    mask = np.uint32((1 << _DIGIT) - 1)
    shift = np.uint32(0)
    source, target = 0, size
    starts = np.empty(1 << _DIGIT, np.int64)
    while shift < np.uint32(32) and span >> shift:
        starts[:] = 0
        for n in range(source, source + count):
            starts[((keys[n] - low) >> shift) & mask] += 1
        at = target
        for digit in range(1 << _DIGIT):
            at, starts[digit] = at + starts[digit], at
        for n in range(source, source + count):
            digit = ((keys[n] - low) >> shift) & mask
            at = starts[digit]
            starts[digit] = at + 1
            keys[at], orders[at] = keys[n], orders[n]
        source, target = target, source
        shift += np.uint32(_DIGIT)
    return source, count


@kernel
def slot_offsets(tiles):
    """Return (N + 1,) int64: Gaussian i owns slots offsets[i] to offsets[i + 1], one per tile, row by row."""
    offsets = np.empty(len(tiles) // 4 + 1, np.int64)
    at = 0
    for i in range(len(tiles) // 4):
        offsets[i] = at
        wide = np.int64(tiles[4 * i + 1] - tiles[4 * i])
        if wide > 0:
            at += wide * np.int64(tiles[4 * i + 3] - tiles[4 * i + 2])
    offsets[len(tiles) // 4] = at
    return offsets


@kernel
def count_tiles(start, stop, order, tiles, across, counts):
    """Count Gaussians per tile: counts (parts, tiles) in rows start to stop.

    Each takes its share of ``order``.
    """
    parts = len(counts)
    for part in range(start, stop):
        end = len(order) * (part + 1) // parts
        for n in range(len(order) * part // parts, end):
            prefetch(tiles, 4 * order[min(n + _AHEAD, end - 1)])
            i = order[n]
            for row in range(tiles[4 * i + 2], tiles[4 * i + 3]):
                for column in range(tiles[4 * i], tiles[4 * i + 1]):
                    counts[part, row * across + column] += 1


@kernel
def fill_tiles(start, stop, order, tiles, across, cursors, lists):
    """Write the lists of the tiles, near to far.

    Cursors (parts, tiles) say where each part of ``order`` begins.
    """
    parts = len(cursors)
    for part in range(start, stop):
        end = len(order) * (part + 1) // parts
        for n in range(len(order) * part // parts, end):
            prefetch(tiles, 4 * order[min(n + _AHEAD, end - 1)])
            i = order[n]
            for row in range(tiles[4 * i + 2], tiles[4 * i + 3]):
                for column in range(tiles[4 * i], tiles[4 * i + 1]):
                    tile = row * across + column
                    lists[cursors[part, tile]] = i
                    cursors[part, tile] += 1
