"""Kernels for triangle meshes: z-buffer, silhouettes, antialiasing; formulas: ``avatarkit.reference.meshes``."""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

import math

import numpy as np

from avatarkit.reference.meshes import NEAR
from avatarkit_cpu.compiled import kernel

__all__ = ["antialias", "cover", "project_vertices", "shade", "silhouettes", "vertex_gradients"]


@kernel
def _cross(ax, ay, bx, by):
    return ax * by - ay * bx


@kernel
def project_vertices(vertices, view, faces, points, drawn):
    """Project vertices (V, 3) to points (V, 3) as x, y in pixels and z in meters.

    Marks the faces that can be drawn.

    ``view`` is as ``camera_numbers`` gives it.
    """
    one = vertices.dtype.type(1)
    near = vertices.dtype.type(NEAR)
    for i in range(len(vertices)):
        px, py, pz = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        x = view[0] * px + view[1] * py + view[2] * pz + view[9]
        y = view[3] * px + view[4] * py + view[5] * pz + view[10]
        z = view[6] * px + view[7] * py + view[8] * pz + view[11]
        if not (z > near and math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            x, y, z = one, one, -one
        points[i, 0] = x / z * view[12] + view[14]
        points[i, 1] = y / z * view[13] + view[15]
        points[i, 2] = z
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y = points[a, 0], points[a, 1]
        area = _cross(points[b, 0] - x, points[b, 1] - y, points[c, 0] - x, points[c, 1] - y)
        drawn[f] = area != 0 and min(points[a, 2], points[b, 2], points[c, 2]) > near


@kernel
def cover(start, stop, points, faces, drawn, hit, depth):
    """Find the nearest face in the rows start to stop: hit (H, W) int64, -1 where none, and depth (H, W)."""
    real = points.dtype.type
    zero, half = real(0), real(0.5)
    width = hit.shape[1]
    for y in range(start, stop):
        for x in range(width):
            hit[y, x] = -1
            depth[y, x] = zero
    lowest, highest = real(start), real(stop - 1)
    last = real(width - 1)
    for f in range(len(faces)):
        if not drawn[f]:
            continue
        ax, ay, az = points[faces[f, 0], 0], points[faces[f, 0], 1], points[faces[f, 0], 2]
        bx, by, bz = points[faces[f, 1], 0], points[faces[f, 1], 1], points[faces[f, 1], 2]
        cx, cy, cz = points[faces[f, 2], 0], points[faces[f, 2], 1], points[faces[f, 2], 2]
        top, bottom = max(min(ay, by, cy) - half, lowest), min(max(ay, by, cy) - half, highest)
        left, right = max(min(ax, bx, cx) - half, zero), min(max(ax, bx, cx) - half, last)
        if not (top <= bottom and left <= right):
            continue
        for y in range(np.int64(np.ceil(top)), np.int64(bottom) + 1):
            py = real(y) + half
            for x in range(np.int64(np.ceil(left)), np.int64(right) + 1):
                px = real(x) + half
                u = _cross(bx - px, by - py, cx - px, cy - py)
                v = _cross(cx - px, cy - py, ax - px, ay - py)
                w = _cross(ax - px, ay - py, bx - px, by - py)
                if (u >= zero and v >= zero and w >= zero) or (u <= zero and v <= zero and w <= zero):
                    z = (u + v + w) / (u / az + v / bz + w / cz)
                    if z > zero and (hit[y, x] < 0 or z < depth[y, x]):
                        hit[y, x], depth[y, x] = f, z


@kernel
def shade(start, stop, points, faces, hit, barycentric):
    """Return perspective-correct barycentric weights (H, W, 3) in the rows start to stop."""
    real = points.dtype.type
    zero, half = real(0), real(0.5)
    for y in range(start, stop):
        for x in range(hit.shape[1]):
            f = hit[y, x]
            if f < 0:
                barycentric[y, x, 0] = barycentric[y, x, 1] = barycentric[y, x, 2] = zero
                continue
            a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
            px, py = real(x) + half, real(y) + half
            u = _cross(b[0] - px, b[1] - py, c[0] - px, c[1] - py) / a[2]
            v = _cross(c[0] - px, c[1] - py, a[0] - px, a[1] - py) / b[2]
            w = _cross(a[0] - px, a[1] - py, b[0] - px, b[1] - py) / c[2]
            total = u + v + w
            barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = u / total, v / total, w / total


@kernel
def silhouettes(points, drawn, edges, firsts, neighbors, chosen):
    """Write the numbers of the edges whose drawn faces all lie on one side.

    Returns how many.

    Args:
        points: (V, 3) projected.
        drawn: (F,) bool.
        edges: (E, 2) ends.
        firsts: (E + 1,) into neighbors (3F, 2): a face at the edge and its corner off the edge.
        chosen: (E,) out.
    """
    count = 0
    for e in range(len(edges)):
        a, b = points[edges[e, 0]], points[edges[e, 1]]
        any_drawn = left = right = False
        for n in range(firsts[e], firsts[e + 1]):
            if drawn[neighbors[n, 0]]:
                c = points[neighbors[n, 1]]
                side = _cross(b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1])
                any_drawn = True
                left = left or side > 0
                right = right or side < 0
        if any_drawn and not (left and right):
            chosen[count] = e
            count += 1
    return count


@kernel
def _crossings(points, edges, chosen, size):
    """Return an upper bound of how many lines of pixel centers, rows and columns of a picture of ``size`` (2), edges cross."""
    bound = 0
    for n in range(len(chosen)):
        a, b = points[edges[chosen[n], 0]], points[edges[chosen[n], 1]]
        for axis in range(2):
            low = max(min(a[axis], b[axis]), 0)
            high = min(max(a[axis], b[axis]), size[axis])
            if low <= high:
                bound += np.int64(high - low) + 2
    return bound


@kernel
def antialias(points, edges, chosen, hit, mask):
    """Write the antialiased mask (H, W) and return what it depends on.

    Returns:
        C; (>= C, 3) int64: the two ends of an edge and the pixel (y * W + x) that it acts on; (>= C, 4): derivatives of
        that pixel's mask in x, y of the first and x, y of the second end.
    """
    real = points.dtype.type
    zero, half, one = real(0), real(0.5), real(1)
    height, width = hit.shape
    size = (width, height)
    limit = _crossings(points, edges, chosen, size)
    links, pairs = np.empty((limit, 3), np.int64), np.empty((limit, 2), np.int64)
    slopes, gains = np.empty((limit, 4), points.dtype), np.empty(limit, points.dtype)
    best = np.empty((2, height * width), np.int64)  # crossing that won each pair, by axis; pairs bear their first pixel
    for pixel in range(height * width):
        best[0, pixel] = best[1, pixel] = -1
    count = 0
    for across in range(2):  # axis of the pairs: 0 horizontal, 1 vertical
        along = 1 - across
        for n in range(len(chosen)):
            e = chosen[n]
            a, b = points[edges[e, 0]], points[edges[e, 1]]
            low, high = min(a[along], b[along]), max(a[along], b[along])
            if not (low < high and high > zero and low < real(size[along])):
                continue
            slope = (b[across] - a[across]) / (b[along] - a[along])
            first = np.int64(np.ceil(max(low - half, zero)))
            for line in range(first, np.int64(np.ceil(min(high - half, real(size[along]))))):
                t = (real(line) + half - a[along]) / (b[along] - a[along])
                at = a[across] + t * (b[across] - a[across])
                cell = np.floor(at - half)
                if not (zero <= cell < real(size[across] - 1)):
                    continue
                near = line * width + np.int64(cell) if across == 0 else np.int64(cell) * width + line
                far = near + (1 if across == 0 else width)
                covered = hit[near // width, near % width] >= 0
                if covered == (hit[far // width, far % width] >= 0):
                    continue
                d = at - (cell + half) if covered else cell + half + one - at
                if best[across, near] >= 0 and gains[best[across, near]] >= d - half:
                    continue
                best[across, near] = count
                sign = one if covered else -one
                links[count, 0], links[count, 1] = edges[e, 0], edges[e, 1]
                links[count, 2] = near if (d < half) == covered else far
                pairs[count, 0], pairs[count, 1], gains[count] = across, near, d - half
                slopes[count, across], slopes[count, 2 + across] = sign * (one - t), sign * t
                slopes[count, along], slopes[count, 2 + along] = -sign * (one - t) * slope, -sign * t * slope
                count += 1

    changes = np.zeros((height * width, 2), points.dtype)
    for n in range(count):
        if best[pairs[n, 0], pairs[n, 1]] == n:
            changes[links[n, 2], pairs[n, 0]] += gains[n]
    kept = 0
    for n in range(count):  # the winners that count, at pixels that are not clamped, for those have no gradient
        pixel = links[n, 2]
        axis = 0 if abs(changes[pixel, 0]) >= abs(changes[pixel, 1]) else 1
        value = changes[pixel, axis] + (one if hit[pixel // width, pixel % width] >= 0 else zero)
        if best[pairs[n, 0], pairs[n, 1]] == n and axis == pairs[n, 0] and zero <= value <= one:
            for k in range(3):
                links[kept, k] = links[n, k]
            for k in range(4):
                slopes[kept, k] = slopes[n, k]
            kept += 1
    for y in range(height):
        for x in range(width):
            horizontal, vertical = changes[y * width + x, 0], changes[y * width + x, 1]
            change = horizontal if abs(horizontal) >= abs(vertical) else vertical
            mask[y, x] = min(max(change + (one if hit[y, x] >= 0 else zero), zero), one)
    return kept, links, slopes


@kernel
def vertex_gradients(links, slopes, d_mask, points, view, d_vertices):
    """Take dL/dmask (H, W) to the vertices (V, 3), which are zero on entry."""
    flat = d_mask.reshape(-1)
    for n in range(len(links)):
        gradient = flat[links[n, 2]]
        for end in range(2):
            i = links[n, end]
            inverse = view.dtype.type(1) / points[i, 2]
            du, dv = gradient * slopes[n, 2 * end], gradient * slopes[n, 2 * end + 1]
            x, y = du * view[12] * inverse, dv * view[13] * inverse
            z = -(du * (points[i, 0] - view[14]) + dv * (points[i, 1] - view[15])) * inverse
            d_vertices[i, 0] += view[0] * x + view[3] * y + view[6] * z
            d_vertices[i, 1] += view[1] * x + view[4] * y + view[7] * z
            d_vertices[i, 2] += view[2] * x + view[5] * y + view[8] * z
