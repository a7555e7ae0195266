"""Kernels per Gaussian: projection with culling, and its derivative; formulas: ``avatarkit.reference.gaussians``."""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import math

import numpy as np

from avatarkit.reference.gaussians import ALPHA_MIN, CLAMP_MARGIN, DILATION, NEAR
from avatarkit.types.camera import Camera
from avatarkit_cpu.compiled import kernel
from avatarkit_cpu.simd import LANES, load, prefetch, splat, store

__all__ = ["CENTER", "COLOR", "CONIC", "DEPTH", "FALLOFF", "LIMIT", "OPACITY", "RECORD", "TILE", "camera_numbers"]
__all__ += ["project", "project_backward"]

TILE = 32  # pixels along each side of a tile

# What blending reads of one Gaussian: 64 bytes in single precision, a cache line.
RECORD = 16
CENTER = 0  # x, y in pixels
CONIC = 2  # a, b, c: the exponent is -(a dx^2 + b dx dy + c dy^2)
OPACITY = 5
COLOR = 6  # r, g, b
DEPTH = 9
FALLOFF = 10  # a and c times 1 - |b| / 2 sqrt(a c): the exponent is at least their sum with dx^2, dy^2
LIMIT = 12  # the exponent where alpha falls to 1/255

# What blending's derivative returns per Gaussian and tile, LANES numbers: with q = dL/dalpha * alpha the sums over pixels
# of q, q dx, q dy, q dx^2, q dx dy, q dy^2, and of dL/dcolor (3).

_AHEAD = 12  # slots whose moments are asked for in advance


def camera_numbers(camera: Camera, dtype: np.dtype) -> np.ndarray:
    """Return the camera as an array (20,).

    It holds rotation (9) and translation (3), world to camera; fx, fy, cx, cy; lower and upper clamp of x/z, of y/z.
    """
    K = camera.K.detach().cpu().double().numpy()
    T = camera.T_camera_world.detach().cpu().double().numpy()
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    u, v = CLAMP_MARGIN * 0.5 * camera.width / fx, CLAMP_MARGIN * 0.5 * camera.height / fy
    clamps = [-cx / fx - u, (camera.width - cx) / fx + u, -cy / fy - v, (camera.height - cy) / fy + v]
    return np.concatenate([T[:3, :3].ravel(), T[:3, 3], [fx, fy, cx, cy], clamps]).astype(dtype)


@kernel
def _dot(a, view, at):
    return a[0] * view[at] + a[1] * view[at + 1] + a[2] * view[at + 2]


@kernel
def _row(view, at, shapes, i):
    """Return the row of the camera's rotation that begins at ``at``, times the covariance ``i``."""
    x, y, z = view[at], view[at + 1], view[at + 2]
    return (
        x * shapes[i, 0] + y * shapes[i, 1] + z * shapes[i, 2],
        x * shapes[i, 1] + y * shapes[i, 3] + z * shapes[i, 4],
        x * shapes[i, 2] + y * shapes[i, 4] + z * shapes[i, 5],
    )


@kernel
def _shape(view, shapes, i):
    """Return a factor and the covariance in camera axes (xx, xy, xz, yy, yz, zz) that its square multiplies.

    A sphere is its standard deviation times the identity, so both kinds share one formula.

    Args:
        view: see ``camera_numbers``.
        shapes: (N,) standard deviations, or (N, 6) covariances in world axes.
        i: number of the Gaussian.
    """
    real = view.dtype.type
    zero, one = real(0), real(1)
    if shapes.ndim == 1:
        return shapes[i], one, zero, zero, one, zero, one
    a, b, c = _row(view, 0, shapes, i), _row(view, 3, shapes, i), _row(view, 6, shapes, i)
    return one, _dot(a, view, 0), _dot(a, view, 3), _dot(a, view, 6), _dot(b, view, 3), _dot(b, view, 6), _dot(c, view, 6)


@kernel
def project(start, stop, means, shapes, colors, opacities, view, width, height, records, tiles, depths):
    """Fill records (N * RECORD,), tiles (N * 4,) int16 as x0, x1, y0, y1 (x0 = x1: not seen) and depths (N,)."""
    real = records.dtype.type
    near, dilation, alpha_min = real(NEAR), real(DILATION), real(ALPHA_MIN)
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    fx, fy, cx, cy = view[12], view[13], view[14], view[15]
    last_x, last_y = real(width - 1), real(height - 1)
    known, limit = one, -math.log(alpha_min)  # most Gaussians are as opaque as the one before
    for i in range(start, stop):
        tiles[4 * i] = tiles[4 * i + 1] = 0
        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        z = view[6] * px + view[7] * py + view[8] * pz + view[11]
        opacity = opacities[i]
        if not (z > near and opacity >= alpha_min):
            continue
        inverse = one / z
        u = (view[0] * px + view[1] * py + view[2] * pz + view[9]) * inverse
        v = (view[3] * px + view[4] * py + view[5] * pz + view[10]) * inverse
        x, y = fx * u + cx, fy * v + cy
        u = min(max(u, view[16]), view[17])
        v = min(max(v, view[18]), view[19])
        size, c_xx, c_xy, c_xz, c_yy, c_yz, c_zz = _shape(view, shapes, i)
        sx, sy = size * fx * inverse, size * fy * inverse
        xx = sx * sx * (c_xx + u * u * c_zz - two * u * c_xz) + dilation
        xy = sx * sy * u * v * c_zz + sx * sy * (c_xy - u * c_yz - v * c_xz)
        yy = sy * sy * (c_yy + v * v * c_zz - two * v * c_yz) + dilation
        determinant = xx * yy - xy * xy
        if not (math.isfinite(determinant) and math.isfinite(x) and math.isfinite(y) and determinant > zero):
            continue
        if opacity != known:
            known, limit = opacity, math.log(opacity / alpha_min)
        wide = math.sqrt(two * limit * xx) + real(0.001)
        tall = math.sqrt(two * limit * yy) + real(0.001)
        left, right = max(np.ceil(x - wide - half), zero), min(np.floor(x + wide - half), last_x)
        top, bottom = max(np.ceil(y - tall - half), zero), min(np.floor(y + tall - half), last_y)
        if not (left <= right and top <= bottom):
            continue
        tiles[4 * i], tiles[4 * i + 1] = int(left) // TILE, int(right) // TILE + 1
        tiles[4 * i + 2], tiles[4 * i + 3] = int(top) // TILE, int(bottom) // TILE + 1
        depths[i] = z
        at = i * RECORD
        scale = half / determinant
        records[at + CENTER], records[at + CENTER + 1] = x, y
        a, b, c = yy * scale, -two * xy * scale, xx * scale
        records[at + CONIC], records[at + CONIC + 1], records[at + CONIC + 2] = a, b, c
        records[at + OPACITY] = opacity
        records[at + COLOR] = colors[i, 0]
        records[at + COLOR + 1] = colors[i, 1]
        records[at + COLOR + 2] = colors[i, 2]
        records[at + DEPTH] = z
        falloff = max(one - half * abs(b) / math.sqrt(a * c), zero)
        records[at + FALLOFF], records[at + FALLOFF + 1] = a * falloff, c * falloff
        records[at + LIMIT] = limit + real(0.001)


@kernel
def project_backward(start, stop, means, shapes, view, records, slots, places, moments, d_means, d_shapes, d_colors, d_opacities):
    """Sum the moments of each Gaussian over its slots and propagate them through the projection.

    The order of the slots is fixed.

    Args:
        shapes: see ``_shape``.
        slots, places, moments: see ``blend_backward``; a place below 0 has none.
    """
    real = records.dtype.type
    zero, one, two, half = real(0), real(1), real(2), real(0.5)
    fx, fy = view[12], view[13]
    m = np.empty(LANES, records.dtype)
    last = len(places) - 1
    for i in range(start, stop):
        total, seen = splat(zero), False
        for slot in range(slots[i], slots[i + 1]):
            prefetch(moments, max(places[min(slot + _AHEAD, last)], 0) * LANES)
            if places[slot] >= 0:
                total, seen = total + load(moments, places[slot] * LANES), True
        if not seen:
            d_means[i, 0] = d_means[i, 1] = d_means[i, 2] = d_opacities[i] = zero
            d_shapes[i] = zero
            d_colors[i, 0] = d_colors[i, 1] = d_colors[i, 2] = zero
            continue
        store(m, 0, total)
        at = i * RECORD
        a, b, c = records[at + CONIC], records[at + CONIC + 1], records[at + CONIC + 2]
        d_opacities[i] = m[0] / records[at + OPACITY]
        d_colors[i, 0], d_colors[i, 1], d_colors[i, 2] = m[6], m[7], m[8]
        d_x, d_y = two * a * m[1] + b * m[2], b * m[1] + two * c * m[2]
        # With S^-1 = [[2a, b], [b, 2c]] and G = dL/dS^-1 = -1/2 sum q d d^T:  dL/dS = -S^-1 G S^-1.
        p, q, r = two * a * m[3] + b * m[4], two * a * m[4] + b * m[5], b * m[3] + two * c * m[4]
        s = b * m[4] + two * c * m[5]
        d_xx, d_xy, d_yy = half * (p * two * a + q * b), half * (p * b + q * two * c), half * (r * b + s * two * c)

        px, py, pz = means[i, 0], means[i, 1], means[i, 2]
        inverse = one / records[at + DEPTH]
        u = (view[0] * px + view[1] * py + view[2] * pz + view[9]) * inverse
        v = (view[3] * px + view[4] * py + view[5] * pz + view[10]) * inverse
        u_clamped, v_clamped = min(max(u, view[16]), view[17]), min(max(v, view[18]), view[19])
        # S = k^2 [[fx^2 (c_xx + u^2 c_zz - 2 u c_xz), fx fy (c_xy + u v c_zz - u c_yz - v c_xz)], [., ...]] + dilation
        size, c_xx, c_xy, c_xz, c_yy, c_yz, c_zz = _shape(view, shapes, i)
        k = size * inverse
        g_xx, g_xy, g_yy = d_xx * fx * fx, d_xy * fx * fy, d_yy * fy * fy
        u_, v_ = u_clamped, v_clamped
        wide, tall = c_xx + u_ * u_ * c_zz - two * u_ * c_xz, c_yy + v_ * v_ * c_zz - two * v_ * c_yz
        d_k = two * k * (
            g_xx * wide + two * g_xy * u_ * v_ * c_zz + two * g_xy * (c_xy - u_ * c_yz - v_ * c_xz) + g_yy * tall
        )  # fmt: skip
        d_u, d_v = d_x * fx, d_y * fy
        if u == u_:
            d_u += two * k * k * (g_xx * (u * c_zz - c_xz) + g_xy * (v_ * c_zz - c_yz))
        if v == v_:
            d_v += two * k * k * (g_yy * (v * c_zz - c_yz) + g_xy * (u_ * c_zz - c_xz))
        if shapes.ndim == 1:
            d_shapes[i] = d_k * inverse
        else:
            # dL/dC of the camera's axes: k^2 J^T G J, turned to the world's
            g_xz, g_yz = -g_xx * u_ - g_xy * v_, -g_xy * u_ - g_yy * v_
            g_zz = g_xx * u_ * u_ + two * g_xy * u_ * v_ + g_yy * v_ * v_
            at = 0
            for row in range(3):
                p = g_xx * view[row] + g_xy * view[3 + row] + g_xz * view[6 + row]
                q = g_xy * view[row] + g_yy * view[3 + row] + g_yz * view[6 + row]
                r = g_xz * view[row] + g_yz * view[3 + row] + g_zz * view[6 + row]
                for column in range(row, 3):
                    both = k * k * (p * view[column] + q * view[3 + column] + r * view[6 + column])
                    d_shapes[i, at] = both if row == column else two * both
                    at += 1
        # u = x / z, v = y / z, k = scale / z
        x, y, z = d_u * inverse, d_v * inverse, -(d_u * u + d_v * v + d_k * k) * inverse
        d_means[i, 0] = view[0] * x + view[3] * y + view[6] * z
        d_means[i, 1] = view[1] * x + view[4] * y + view[7] * z
        d_means[i, 2] = view[2] * x + view[5] * y + view[8] * z
