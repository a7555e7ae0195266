"""Kernels per tile: front-to-back blending and its derivative. The formulas stand in ``avatarkit.kernels.gaussians``.

A tile is cut into blocks of 4 x 4 pixels, and a block is one vector of 16 lanes: a small Gaussian touches few blocks.
Arrays of pixels are laid out tile by tile, block by block. Sets of blocks are bits of an integer: those that a
Gaussian may reach, those where some pixel still takes Gaussians. A block that is finished costs nothing more, nor
does a tile whose blocks all are.
"""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import numpy as np

from avatarkit.kernels.gaussians import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from avatarkit_cpu.compiled import kernel
from avatarkit_cpu.lanes import LANES, any_lane, exp_negative, fma, least, load, lowest_bit, select, splat, store, total
from avatarkit_cpu.projection import CENTRE, COLOR, CONIC, EXTENT, MOMENTS, OPACITY, RECORD, TILE

__all__ = ["PIXELS", "blend", "blend_backward"]

_BLOCK = 4  # pixels along each side of a block
_ROW = TILE // _BLOCK  # blocks along each side of a tile
_BLOCKS = _ROW * _ROW
_COLUMN = sum(1 << (_ROW * row) for row in range(_ROW))  # bits of a tile's first column
PIXELS = TILE * TILE
_OPEN = 1 << 24  # as a pixel's stop: none yet


@kernel
def _offsets(like):
    """x (16) and y (16) of a block's pixels relative to its first one; x (blocks) and y (blocks) of a tile's blocks."""
    lanes, blocks = np.empty(2 * LANES, like.dtype), np.empty((2, _BLOCKS), like.dtype)
    for lane in range(LANES):
        lanes[lane] = lane % _BLOCK
        lanes[LANES + lane] = lane // _BLOCK
    for block in range(_BLOCKS):
        blocks[0, block] = block % _ROW * _BLOCK
        blocks[1, block] = block // _ROW * _BLOCK
    return lanes, blocks[0], blocks[1]


@kernel
def _reach(records, at, left, top):
    """Bits of the blocks of the tile at (left, top) that a Gaussian may reach."""
    half = records.dtype.type(0.5)
    x, y = records[at + CENTRE] - half - left, records[at + CENTRE + 1] - half - top
    wide, tall = records[at + EXTENT], records[at + EXTENT + 1]
    first_x, last_x = max(np.int64(x - wide), 0) // _BLOCK, min(np.int64(x + wide), TILE - 1) // _BLOCK
    first_y, last_y = max(np.int64(y - tall), 0) // _BLOCK, min(np.int64(y + tall), TILE - 1) // _BLOCK
    columns = ((2 << last_x) - (1 << first_x)) * _COLUMN
    return columns & ((2 << (last_y * _ROW + _ROW - 1)) - (1 << (first_y * _ROW)))


@kernel
def _place(x, y):
    """Where a tile's pixel lies in the arrays of that tile."""
    return (y // _BLOCK * _ROW + x // _BLOCK) * LANES + y % _BLOCK * _BLOCK + x % _BLOCK


@kernel
def _write(left, top, base, sums, transmittance, background, rgb, alpha, depth):
    """Copies a tile into the picture, over the background."""
    one, least_alpha = sums.dtype.type(1), sums.dtype.type(ALPHA_MIN / 2)
    height, width = alpha.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            pixel = _place(x - left, y - top)
            T = transmittance[base + pixel]
            for k in range(3):
                rgb[y, x, k] = sums[k * PIXELS + pixel] + T * background[k]
            alpha[y, x] = one - T
            depth[y, x] = sums[3 * PIXELS + pixel] / max(one - T, least_alpha)


@kernel
def _read(left, top, d_rgb, d_alpha, background, transmitted, gradient, behind):
    """Copies a tile of dL/drgb out of the picture, and what the background brings to S."""
    height, width = d_alpha.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            pixel = _place(x - left, y - top)
            light = -d_alpha[y, x]
            for k in range(3):
                gradient[k * PIXELS + pixel] = d_rgb[y, x, k]
                light += background[k] * d_rgb[y, x, k]
            behind[pixel] = transmitted[pixel] * light


@kernel
def blend(start, stop, across, records, lists, offsets, background, transmittance, stops, rgb, alpha, depth):
    """Draws tiles start to stop.

    Args:
        across: tiles in a row.
        records: (N * RECORD,). lists: Gaussians of all tiles, near to far. offsets: (tiles + 1,) into lists.
        background: (3,).
        transmittance: (tiles * PIXELS,) out, what is left behind the last Gaussian.
        stops: (tiles * PIXELS,) out, place in the tile's list, counted from 1, of the first Gaussian that is left out
            because the pixel is full; a large number where all fit, 0 outside the picture.
        rgb: (H, W, 3) out. alpha, depth: (H, W) out.
    """
    real = records.dtype.type
    zero, one, minus, open_ = splat(real(0)), splat(real(1)), splat(real(-1)), splat(real(_OPEN))
    alpha_min, alpha_max, least_left = splat(real(ALPHA_MIN)), splat(real(ALPHA_MAX)), splat(real(TRANSMITTANCE_MIN))
    lanes, block_x, block_y = _offsets(records)
    lane_x, lane_y = load(lanes, 0), load(lanes, LANES)
    sums = np.empty(4 * PIXELS, records.dtype)  # r, g, b, depth
    height, width = alpha.shape
    for tile in range(start, stop):
        left, top = tile % across * TILE, tile // across * TILE
        base = tile * PIXELS
        unfinished = 0
        for block in range(_BLOCKS):
            x, y = left + block % _ROW * _BLOCK, top + block // _ROW * _BLOCK
            inside = (lane_x < splat(real(width - x))) & (lane_y < splat(real(height - y)))
            unfinished |= np.int64(x < width and y < height) << block
            store(stops, base + block * LANES, select(inside, open_, zero))
            store(transmittance, base + block * LANES, one)
            for k in range(4):
                store(sums, k * PIXELS + block * LANES, zero)
        for n in range(offsets[tile], offsets[tile + 1]):
            at = lists[n] * RECORD
            todo = _reach(records, at, real(left), real(top)) & unfinished
            if todo == 0:
                if unfinished == 0:
                    break
                continue
            x = lane_x + splat(real(left) + real(0.5) - records[at + CENTRE])
            y = lane_y + splat(real(top) + real(0.5) - records[at + CENTRE + 1])
            a, b, c = splat(records[at + CONIC]), splat(records[at + CONIC + 1]), splat(records[at + CONIC + 2])
            opacity = splat(records[at + OPACITY])
            while todo != 0:
                block = lowest_bit(todo)
                todo &= todo - 1
                dx, dy = x + splat(block_x[block]), y + splat(block_y[block])
                power = fma(dx, fma(a, dx, b * dy), c * dy * dy)
                value = least(opacity * exp_negative(power), alpha_max)
                pixel = block * LANES
                T, stopped = load(transmittance, base + pixel), load(stops, base + pixel)
                value = select((value >= alpha_min) & (stopped >= open_), value, zero)
                after = fma(minus * T, value, T)
                full = after <= least_left
                if any_lane(full):
                    value, after = select(full, zero, value), select(full, T, after)
                    stopped = select(full, splat(real(n - offsets[tile] + 1)), stopped)
                    store(stops, base + pixel, stopped)
                    if not any_lane(stopped >= open_):
                        unfinished ^= 1 << block
                weight = T * value
                store(transmittance, base + pixel, after)
                for k in range(4):
                    at_sum = k * PIXELS + pixel
                    store(sums, at_sum, fma(weight, splat(records[at + COLOR + k]), load(sums, at_sum)))
        _write(left, top, base, sums, transmittance, background, rgb, alpha, depth)


@kernel
def blend_backward(
    start, stop, across, records, lists, offsets, background, transmittance, stops, d_rgb, d_alpha,
    tiles, slots, written, moments,
):  # fmt: skip
    """Derivative of ``blend`` in the Gaussians of tiles start to stop, walked back to front.

    With S the light from behind, L_i = color_i . dL/drgb and w_i = alpha_i T_i: dL/dalpha_i = T_i L_i - S_i / (1 -
    alpha_i), where S_i = sum_{j>i} w_j L_j + T_end (background . dL/drgb - dL/dalpha).

    Args:
        d_rgb: (H, W, 3). d_alpha: (H, W).
        tiles: (N, 4) tiles of each Gaussian. slots: (N + 1,) where its moments go.
        written: (slots,) out, bool. moments: (slots * MOMENTS,) out, where written.
        The rest is as in ``blend``.
    """
    real = records.dtype.type
    zero, one = splat(real(0)), splat(real(1))
    alpha_min, alpha_max = splat(real(ALPHA_MIN)), splat(real(ALPHA_MAX))
    lanes, block_x, block_y = _offsets(records)
    lane_x, lane_y = load(lanes, 0), load(lanes, LANES)
    transmitted = np.empty(PIXELS, records.dtype)
    gradient = np.empty(3 * PIXELS, records.dtype)
    behind = np.empty(PIXELS, records.dtype)
    block_stop = np.empty(_BLOCKS, np.int64)
    for tile in range(start, stop):
        left, top = tile % across * TILE, tile // across * TILE
        base = tile * PIXELS
        listed = offsets[tile + 1] - offsets[tile]
        for block in range(_BLOCKS):
            pixel = block * LANES
            store(transmitted, pixel, load(transmittance, base + pixel))
            for k in range(3):
                store(gradient, k * PIXELS + pixel, zero)
            store(behind, pixel, zero)
            furthest = real(0)
            for lane in range(LANES):
                furthest = max(furthest, stops[base + pixel + lane])
            block_stop[block] = min(np.int64(furthest), listed + 1)
        deepest = 0
        for block in range(_BLOCKS):
            deepest = max(deepest, block_stop[block] - 1)
        _read(left, top, d_rgb, d_alpha, background, transmitted, gradient, behind)
        for place in range(deepest, 0, -1):
            i = lists[offsets[tile] + place - 1]
            at = i * RECORD
            todo = _reach(records, at, real(left), real(top))
            x = lane_x + splat(real(left) + real(0.5) - records[at + CENTRE])
            y = lane_y + splat(real(top) + real(0.5) - records[at + CENTRE + 1])
            a, b, c = splat(records[at + CONIC]), splat(records[at + CONIC + 1]), splat(records[at + CONIC + 2])
            opacity = splat(records[at + OPACITY])
            color = at + COLOR
            red, green, blue = splat(records[color]), splat(records[color + 1]), splat(records[color + 2])
            number = splat(real(place))
            q0 = qx = qy = qxx = qxy = qyy = d_red = d_green = d_blue = zero
            touched = False
            while todo != 0:
                block = lowest_bit(todo)
                todo &= todo - 1
                if block_stop[block] <= place:
                    continue
                dx, dy = x + splat(block_x[block]), y + splat(block_y[block])
                power = fma(dx, fma(a, dx, b * dy), c * dy * dy)
                raw = opacity * exp_negative(power)
                pixel = block * LANES
                # Where nothing was blended, alpha = 0 keeps everything as it is.
                raw = select((raw >= alpha_min) & (load(stops, base + pixel) > number), raw, zero)
                value = least(raw, alpha_max)
                touched = True
                g0, g1 = load(gradient, pixel), load(gradient, PIXELS + pixel)
                g2 = load(gradient, 2 * PIXELS + pixel)
                inverse = one / (one - value)
                before, light = load(transmitted, pixel) * inverse, load(behind, pixel)
                weight = before * value
                own = fma(red, g0, fma(green, g1, blue * g2))
                d_value = before * own - light * inverse
                store(transmitted, pixel, before)
                store(behind, pixel, fma(weight, own, light))
                d_red, d_green, d_blue = fma(weight, g0, d_red), fma(weight, g1, d_green), fma(weight, g2, d_blue)
                q = select(raw <= alpha_max, d_value * raw, zero)
                q_dx, q_dy = q * dx, q * dy
                q0, qx, qy = q0 + q, qx + q_dx, qy + q_dy
                qxx, qxy, qyy = fma(q_dx, dx, qxx), fma(q_dx, dy, qxy), fma(q_dy, dy, qyy)
            if touched:
                wide = np.int64(tiles[i, 1] - tiles[i, 0])
                slot = slots[i] + (tile // across - tiles[i, 2]) * wide + tile % across - tiles[i, 0]
                written[slot] = True
                to = slot * MOMENTS
                moments[to], moments[to + 1], moments[to + 2] = total(q0), total(qx), total(qy)
                moments[to + 3], moments[to + 4], moments[to + 5] = total(qxx), total(qxy), total(qyy)
                moments[to + 6], moments[to + 7], moments[to + 8] = total(d_red), total(d_green), total(d_blue)
