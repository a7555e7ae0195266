"""Kernels per tile: front-to-back blending and its derivative. The formulas stand in ``avatarkit.reference.gaussians``.

A tile is cut into blocks of 4 x 4 pixels, and a block is one vector of 16 lanes: a small Gaussian touches few blocks.
What a tile keeps of its pixels is laid out block by block: the vectors of one block lie side by side. Sets of blocks are
bits of an integer: those that a Gaussian may reach, those where some pixel still takes Gaussians. A block that is
finished costs nothing more, nor does a tile whose blocks all are.
"""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import numpy as np

from avatarkit.reference.gaussians import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from avatarkit_cpu.compiled import kernel
from avatarkit_cpu.projection import CENTER, COLOR, CONIC, FALLOFF, LIMIT, OPACITY, RECORD, TILE
from avatarkit_cpu.simd import (
    LANES,
    any_lane,
    beyond,
    exp_negative,
    fma,
    least,
    load,
    lowest_bit,
    prefetch,
    select,
    splat,
    store,
    sums_within,
    totals,
)

__all__ = ["PIXELS", "blend", "blend_backward"]

_BLOCK = 4  # pixels along each side of a block
_ROW = TILE // _BLOCK  # blocks along each side of a tile, 8
_BLOCKS = _ROW * _ROW
PIXELS = TILE * TILE
_OPEN = 1 << 24  # as a pixel's stop: none yet
_AHEAD = 6  # Gaussians of a list whose records are asked for in advance

# Vectors of a block while it is drawn, and while its derivative is taken.
_LEFT, _STOP, _SUMS, _DRAWN = 0, 1, 2, 6  # transmittance, stop; r, g, b, depth
_GRADIENT, _BEHIND, _TAKEN = 2, 5, 6  # dL/drgb; light from behind


@kernel
def _offsets(like):
    """Return constants of a tile.

    Returns:
        (4 * LANES,): x, then y of a block's pixels relative to its first one; the middles of the 8 columns and rows of
        blocks relative to the tile; 0 for columns and 1 for rows. x (blocks) and y (blocks) of a tile's blocks.
    """
    lanes, blocks = np.empty(4 * LANES, like.dtype), np.empty((2, _BLOCKS), like.dtype)
    for lane in range(LANES):
        lanes[lane] = lane % _BLOCK
        lanes[LANES + lane] = lane // _BLOCK
        lanes[2 * LANES + lane] = lane % _ROW * _BLOCK + _BLOCK // 2
        lanes[3 * LANES + lane] = lane // _ROW
    for block in range(_BLOCKS):
        blocks[0, block] = block % _ROW * _BLOCK
        blocks[1, block] = block // _ROW * _BLOCK
    return lanes, blocks[0], blocks[1]


@kernel
def _reach(records, at, left, top, middles, rows, half):
    """Return bits of the blocks of the tile at (left, top) that a Gaussian may reach.

    The exponent a dx^2 + b dx dy + c dy^2 is at least (1 - |b| / 2 sqrt(a c)) (a dx^2 + c dy^2), and dx, dy are at least
    those to the nearest pixel center of a block, ``half`` its width from the middle.
    """
    real = records.dtype.type
    across = rows < splat(real(0.5))
    center = select(across, splat(records[at + CENTER] - left), splat(records[at + CENTER + 1] - top))
    falloff = select(across, splat(records[at + FALLOFF]), splat(records[at + FALLOFF + 1]))
    distance = beyond(middles - center, half)
    return sums_within(falloff * distance * distance, splat(records[at + LIMIT]))


@kernel
def _place(x, y, vectors):
    """Return the position of a tile's pixel in the first vector of its block."""
    return (y // _BLOCK * _ROW + x // _BLOCK) * vectors * LANES + y % _BLOCK * _BLOCK + x % _BLOCK


@kernel
def _write(left, top, drawn, background, rgb, alpha, depth):
    """Copy a tile into the picture, over the background."""
    one, least_alpha = drawn.dtype.type(1), drawn.dtype.type(ALPHA_MIN / 2)
    height, width = alpha.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            pixel = _place(x - left, y - top, _DRAWN)
            T = drawn[pixel]
            for k in range(3):
                rgb[y, x, k] = drawn[pixel + (_SUMS + k) * LANES] + T * background[k]
            alpha[y, x] = one - T
            depth[y, x] = drawn[pixel + (_SUMS + 3) * LANES] / max(one - T, least_alpha)


@kernel
def _read(left, top, d_rgb, d_alpha, background, taken):
    """Read a tile of dL/drgb from the picture, and the background's part of S."""
    height, width = d_alpha.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            pixel = _place(x - left, y - top, _TAKEN)
            light = -d_alpha[y, x]
            for k in range(3):
                taken[pixel + (_GRADIENT + k) * LANES] = d_rgb[y, x, k]
                light += background[k] * d_rgb[y, x, k]
            taken[pixel + _BEHIND * LANES] = taken[pixel] * light


@kernel
def blend(start, stop, across, records, lists, offsets, background, transmittance, stops, rgb, alpha, depth):
    """Draw tiles start to stop.

    Args:
        across: tiles in a row.
        records: (N * RECORD,).
        lists: Gaussians of all tiles, near to far.
        offsets: (tiles + 1,) into lists.
        background: (3,).
        transmittance: (tiles * PIXELS,) out, what is left behind the last Gaussian.
        stops: (tiles * PIXELS,) out, place in the tile's list, counted from 1, of the first Gaussian that is left out
            because the pixel is full; a large number where all fit, 0 outside the picture.
        rgb: (H, W, 3) out.
        alpha, depth: (H, W) out.
    """
    real = records.dtype.type
    zero, one, minus, open_ = splat(real(0)), splat(real(1)), splat(real(-1)), splat(real(_OPEN))
    alpha_min, alpha_max, least_left = splat(real(ALPHA_MIN)), splat(real(ALPHA_MAX)), splat(real(TRANSMITTANCE_MIN))
    half = splat(real((_BLOCK - 1) / 2))
    lanes, block_x, block_y = _offsets(records)
    lane_x, lane_y, middles, rows = load(lanes, 0), load(lanes, LANES), load(lanes, 2 * LANES), load(lanes, 3 * LANES)
    drawn = np.empty(_BLOCKS * _DRAWN * LANES, records.dtype)
    height, width = alpha.shape
    for tile in range(start, stop):
        left, top = tile % across * TILE, tile // across * TILE
        base = tile * PIXELS
        unfinished = 0
        for block in range(_BLOCKS):
            x, y = left + block % _ROW * _BLOCK, top + block // _ROW * _BLOCK
            inside = (lane_x < splat(real(width - x))) & (lane_y < splat(real(height - y)))
            unfinished |= np.int64(x < width and y < height) << block
            pixel = block * _DRAWN * LANES
            store(drawn, pixel + _LEFT * LANES, one)
            store(drawn, pixel + _STOP * LANES, select(inside, open_, zero))
            for k in range(4):
                store(drawn, pixel + (_SUMS + k) * LANES, zero)
        last = offsets[tile + 1] - 1
        for n in range(offsets[tile], last + 1):
            prefetch(records, lists[min(n + _AHEAD, last)] * RECORD)
            at = lists[n] * RECORD
            todo = _reach(records, at, real(left), real(top), middles, rows, half) & unfinished
            if todo == 0:
                if unfinished == 0:
                    break
                continue
            x = lane_x + splat(real(left) + real(0.5) - records[at + CENTER])
            y = lane_y + splat(real(top) + real(0.5) - records[at + CENTER + 1])
            a, b, c = splat(records[at + CONIC]), splat(records[at + CONIC + 1]), splat(records[at + CONIC + 2])
            opacity = splat(records[at + OPACITY])
            while todo != 0:
                block = lowest_bit(todo)
                todo &= todo - 1
                dx, dy = x + splat(block_x[block]), y + splat(block_y[block])
                power = fma(dx, fma(a, dx, b * dy), c * dy * dy)
                value = least(opacity * exp_negative(power), alpha_max)
                pixel = block * _DRAWN * LANES
                T, stopped = load(drawn, pixel), load(drawn, pixel + _STOP * LANES)
                value = select((value >= alpha_min) & (stopped >= open_), value, zero)
                after = fma(minus * T, value, T)
                full = after <= least_left
                if any_lane(full):
                    value, after = select(full, zero, value), select(full, T, after)
                    stopped = select(full, splat(real(n - offsets[tile] + 1)), stopped)
                    store(drawn, pixel + _STOP * LANES, stopped)
                    if not any_lane(stopped >= open_):
                        unfinished ^= 1 << block
                weight = T * value
                store(drawn, pixel, after)
                for k in range(4):
                    at_sum = pixel + (_SUMS + k) * LANES
                    store(drawn, at_sum, fma(weight, splat(records[at + COLOR + k]), load(drawn, at_sum)))
        _write(left, top, drawn, background, rgb, alpha, depth)
        for block in range(_BLOCKS):
            pixel = block * _DRAWN * LANES
            store(transmittance, base + block * LANES, load(drawn, pixel))
            store(stops, base + block * LANES, load(drawn, pixel + _STOP * LANES))


@kernel
def _open_blocks(taken, listed, depths, order):
    """Fill how deep each block takes Gaussians, and the blocks from the deepest on."""
    for block in range(_BLOCKS):
        furthest = taken.dtype.type(0)
        for lane in range(LANES):
            furthest = max(furthest, taken[block * _TAKEN * LANES + _STOP * LANES + lane])
        depths[block] = min(np.int64(furthest) - 1, listed)
        place = block
        while place > 0 and depths[order[place - 1]] < depths[block]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = block


@kernel
def blend_backward(
    start, stop, across, records, lists, offsets, background, transmittance, stops, d_rgb, d_alpha,
    tiles, slots, places, moments,
):  # fmt: skip
    """Compute the derivative of ``blend`` for the tiles start to stop, back to front.

    With S the light from behind, L_i = color_i . dL/drgb and w_i = alpha_i T_i: dL/dalpha_i = T_i L_i - S_i / (1 -
    alpha_i), where S_i = sum_{j>i} w_j L_j + T_end (background . dL/drgb - dL/dalpha).

    Args:
        d_rgb: (H, W, 3).
        d_alpha: (H, W).
        tiles: (N * 4,) tiles of each Gaussian.
        slots: (N + 1,) its first slot, one slot per tile.
        places: (slots,) int32 out, position in moments of a Gaussian's part of a tile; kept if it has none.
        moments: (lists * LANES,) out, in the order of the lists, so that they are written one after the other.
        The rest is as in ``blend``.
    """
    real = records.dtype.type
    zero, one = splat(real(0)), splat(real(1))
    alpha_min, alpha_max = splat(real(ALPHA_MIN)), splat(real(ALPHA_MAX))
    half = splat(real((_BLOCK - 1) / 2))
    lanes, block_x, block_y = _offsets(records)
    lane_x, lane_y, middles, rows = load(lanes, 0), load(lanes, LANES), load(lanes, 2 * LANES), load(lanes, 3 * LANES)
    taken = np.empty(_BLOCKS * _TAKEN * LANES, records.dtype)
    depths, order = np.empty(_BLOCKS, np.int64), np.empty(_BLOCKS, np.int64)
    for tile in range(start, stop):
        left, top = tile % across * TILE, tile // across * TILE
        first = offsets[tile]
        for block in range(_BLOCKS):
            pixel = block * _TAKEN * LANES
            store(taken, pixel, load(transmittance, tile * PIXELS + block * LANES))
            store(taken, pixel + _STOP * LANES, load(stops, tile * PIXELS + block * LANES))
            for k in range(4):
                store(taken, pixel + (_GRADIENT + k) * LANES, zero)
        _open_blocks(taken, offsets[tile + 1] - first, depths, order)
        _read(left, top, d_rgb, d_alpha, background, taken)
        opened = unfinished = 0
        for place in range(depths[order[0]], 0, -1):
            while opened < _BLOCKS and depths[order[opened]] >= place:
                unfinished |= 1 << order[opened]
                opened += 1
            prefetch(records, lists[first + max(place - 1 - _AHEAD, 0)] * RECORD)
            i = lists[first + place - 1]
            at = i * RECORD
            todo = _reach(records, at, real(left), real(top), middles, rows, half) & unfinished
            if todo == 0:
                continue
            x = lane_x + splat(real(left) + real(0.5) - records[at + CENTER])
            y = lane_y + splat(real(top) + real(0.5) - records[at + CENTER + 1])
            a, b, c = splat(records[at + CONIC]), splat(records[at + CONIC + 1]), splat(records[at + CONIC + 2])
            opacity = splat(records[at + OPACITY])
            color = at + COLOR
            red, green, blue = splat(records[color]), splat(records[color + 1]), splat(records[color + 2])
            number = splat(real(place))
            q0 = qx = qy = qxx = qxy = qyy = d_red = d_green = d_blue = zero
            while todo != 0:
                block = lowest_bit(todo)
                todo &= todo - 1
                dx, dy = x + splat(block_x[block]), y + splat(block_y[block])
                power = fma(dx, fma(a, dx, b * dy), c * dy * dy)
                raw = opacity * exp_negative(power)
                pixel = block * _TAKEN * LANES
                # Where nothing was blended, alpha = 0 keeps everything as it is.
                raw = select((raw >= alpha_min) & (load(taken, pixel + _STOP * LANES) > number), raw, zero)
                value = least(raw, alpha_max)
                to = pixel + _GRADIENT * LANES
                g0, g1, g2 = load(taken, to), load(taken, to + LANES), load(taken, to + 2 * LANES)
                inverse = one / (one - value)
                before, light = load(taken, pixel) * inverse, load(taken, pixel + _BEHIND * LANES)
                weight = before * value
                own = fma(red, g0, fma(green, g1, blue * g2))
                d_value = before * own - light * inverse
                store(taken, pixel, before)
                store(taken, pixel + _BEHIND * LANES, fma(weight, own, light))
                d_red, d_green, d_blue = fma(weight, g0, d_red), fma(weight, g1, d_green), fma(weight, g2, d_blue)
                q = select(raw <= alpha_max, d_value * raw, zero)
                q_dx, q_dy = q * dx, q * dy
                q0, qx, qy = q0 + q, qx + q_dx, qy + q_dy
                qxx, qxy, qyy = fma(q_dx, dx, qxx), fma(q_dx, dy, qxy), fma(q_dy, dy, qyy)
            wide = np.int64(tiles[4 * i + 1] - tiles[4 * i])
            slot = slots[i] + (tile // across - tiles[4 * i + 2]) * wide + tile % across - tiles[4 * i]
            places[slot] = first + place - 1
            store(moments, (first + place - 1) * LANES, totals((q0, qx, qy, qxx, qxy, qyy, d_red, d_green, d_blue)))
