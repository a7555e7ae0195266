"""Moves the surface out to where hair and clothes end.

The body model is naked and bald. Hair and clothes show at the silhouette: each silhouette point of the mesh searches along its
normal for the matte's border, and a thin plate over the rest mesh interpolates these displacements on the surface between them.
Displacements are along smoothed normals; the face stays as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from avatarkit.geometry.mesh_graph import vertices_below
from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit.types.subject import Matte
from avatarkit_exavatar.fitting.residuals import projection
from avatarkit_exavatar.observations.contour import outline, resize_alpha

__all__ = ["fit_offsets"]

_FIXED = ("face", "ears", "eyes", "mouth_inside", "teeth", "tongue", "lips", "eyelids")
_PIXELS = 400  # longer side of the picture in which silhouettes are compared
_ROUNDS = 4
_INWARD = 0.03  # meters that the surface may go in
_HANDS = 0.008  # meters that hands may go in or out: a finger is not much thicker
_STRETCH = 0.015  # meters over which the plate bends easily
_FADE = 0.12  # meters over which displacement fades from the silhouette
_TOLERANCE = 0.002  # meters; smaller follows the silhouette more closely
_MIRROR = 0.1  # weight of left-right symmetry, relative to fading
_BARE, _LOOSE = 30.0, 0.9  # how much more bare skin stays where it is, and how much less its silhouette pulls at it
_RIM, _BESIDE_ARM = 2, 0.08  # pixels; meters beside the fitted forearm in which skin may be the arm's
_CROP = 2.0  # pixels from the picture's edge in which the silhouette is the crop's


def cotangent_laplacian(vertices: np.ndarray, faces: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Stiffness (V, V), positive semidefinite, and area (V,) of each vertex of a mesh."""
    rows, columns, values = [], [], []
    area = np.zeros(len(vertices))
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        twice = np.linalg.norm(np.cross(u, v), axis=1)
        np.add.at(area, a, twice / 6)
        half = 0.5 * np.clip((u * v).sum(1) / np.maximum(twice, 1e-12), 0.02, 10.0)  # positive: obtuse corners too
        rows += [b, c, b, c]
        columns += [c, b, b, c]
        values += [-half, -half, half, half]
    shape = (len(vertices), len(vertices))
    stiffness = sparse.coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape).tocsr()
    return stiffness, np.maximum(area, 1e-8)


class _Plate:
    """The cost of displacements (free vertices) away from the silhouette."""

    def __init__(self, body: BodyModel, rest: torch.Tensor, bare: torch.Tensor, hidden: torch.Tensor) -> None:
        self.hands = torch.maximum(body.part("left_hand"), body.part("right_hand")) > 0.5
        fixed = (self.hands & hidden).float()
        for name in _FIXED:
            fixed = torch.maximum(fixed, body.part(name))
        self.free = np.nonzero((fixed < 0.5).numpy())[0]
        stiffness, area = cotangent_laplacian(rest.numpy().astype(np.float64), body.faces.numpy())
        bending = stiffness @ sparse.diags(1 / area) @ stiffness
        mirror = body.mirror()[0].numpy()
        count = len(rest)
        other = sparse.coo_matrix((np.ones(count), (np.arange(count), mirror)), (count, count)).tocsr()
        odd = sparse.identity(count) - other
        mass = sparse.diags(area)
        held = sparse.diags(1.0 + _BARE * bare.double().numpy())
        cost = _STRETCH**2 * bending + stiffness + (mass @ held + _MIRROR * (odd.T @ mass @ odd)) / _FADE**2
        self.cost = cost.tocsr()[self.free][:, self.free]
        normals = vertex_normals(rest, body.faces).double().numpy()
        smooth = splu((mass + 0.02**2 * stiffness).tocsc())
        normals = smooth.solve(mass @ normals)
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _march(
    inside: np.ndarray,
    mesh: np.ndarray,
    skin: np.ndarray,
    start: np.ndarray,
    normal: np.ndarray,
    dressed: np.ndarray,
    outward: float,
    inward: float,
) -> np.ndarray:
    """Signed pixels along each normal to the matte's border; nan where there is none within reach.

    A ray that meets the mesh again on its way stops halfway: two parts share the gap between them. One from clothes that meets
    skin tells nothing, because an arm lies before it.

    Args:
        inside: (H, W) matte, 0 to 1.
        mesh: (H, W) bool.
        skin: (H, W) bool, what looks like it.
        start: (n, 2) x, y.
        normal: (n, 2) outward.
        dressed: (n,) bool.
        outward: pixels, reach out of it.
        inward: pixels, reach into the matte.
    """
    height, width = inside.shape
    step = 0.5

    def sample(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        at = start + distance[:, None] * normal
        x, y = np.floor(at).astype(int).T
        within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y = x.clip(0, width - 1), y.clip(0, height - 1)
        return inside[y, x] > 0.5, mesh[y, x], within, dressed & skin[y, x]

    begin = np.full(len(start), 0.5)
    covered = sample(begin)[0]
    found, before_skin = np.full(len(start), np.nan), np.zeros(len(start), bool)
    for distance in np.arange(1.0, outward, step):
        person, body, within, arm = sample(np.full(len(start), distance))
        before_skin |= person & arm & np.isnan(found)
        open_ = np.isnan(found) & covered & within & ~before_skin
        again = open_ & body & person & (distance > 3.0)
        found[again] = 0.5 * distance
        out = open_ & ~person & ~again
        found[out] = distance - 0.5 * step
    for distance in np.arange(0.5, inward, step):
        person, _, _, _ = sample(np.full(len(start), -distance))
        hit = np.isnan(found) & ~covered & person
        found[hit] = -distance + 0.5 * step
    return found


def fit_offsets(
    body: BodyModel,
    params: BodyParams,
    camera: Camera,
    matte: Matte,
    hidden: torch.Tensor,
    bare: torch.Tensor,
    skin: torch.Tensor | None,
    thing: torch.Tensor,
    rasterizer: MeshRasterizer,
    limit: float,
) -> torch.Tensor:
    """Displacements of the rest mesh that make its silhouette follow the matte.

    Args:
        body: the body model.
        params: one frame.
        camera: of the picture.
        matte: of the photo.
        hidden: (V,) bool, parts that are not seen; they say nothing about the outline, and hidden hands stay as they are.
        bare: (V,) 0 to 1, bare skin: nothing stands off it, so a silhouette beyond it is the pose's fault.
        skin: (H, W) 0 to 1, pixels that look like skin; None where that cannot be told.
        thing: (H, W) bool, pixels of what lies before the person, whose outline says nothing about the surface.
        rasterizer: draws meshes.
        limit: meters, largest displacement.

    Returns:
        (V, 3) meters in rest space.
    """
    small = camera.scaled_to(_PIXELS)
    inside = resize_alpha(matte.alpha, small.width, small.height).numpy()
    like_skin, head = np.zeros(inside.shape, bool), (body.part("head") > 0.5).numpy()
    if skin is not None:  # without the rims of a matte, which may have any color
        like_skin = ndimage.binary_opening(resize_alpha(skin, small.width, small.height).numpy() > 0.5, iterations=_RIM)
    before = resize_alpha(thing.float(), small.width, small.height).numpy() > 0.0
    before = ndimage.binary_dilation(before, iterations=_RIM)
    of_arms = vertices_below(body, "left_elbow", "right_elbow")[body.faces].all(1).numpy()
    rest = body.rest(params.shape, params.expression[None])[0]
    plate = _Plate(body, rest, bare, hidden)
    inward, outward_limit = (np.where(plate.hands.numpy(), _HANDS, most) for most in (_INWARD, limit))
    normals = torch.from_numpy(plate.normals).float()
    transforms = body.joint_transforms(
        body.skeleton(params.shape), params.root[None], params.translation[None], params.joints[None]
    )[0, :, :3, :3]
    turn = (body.skinning_weights[..., None, None] * transforms[body.skinning_indices]).sum(1)
    direction = (turn @ normals[..., None])[..., 0]  # (V, 3) where a vertex goes in the world
    column = np.full(len(rest), -1)
    column[plate.free] = np.arange(len(plate.free))
    moved = np.zeros(len(rest))
    # Ears and face neither move nor speak for the silhouette: hair stands off the scalp behind them.
    loose = (column[body.faces.numpy()] >= 0).all(1) & ~hidden.numpy()[body.faces.numpy()].any(1)
    faces = body.faces[torch.from_numpy(loose)]

    for _ in range(_ROUNDS):
        offsets = torch.from_numpy(moved[:, None] * plate.normals).float()
        vertices = body.vertices(params, offsets)[0]
        whole = rasterizer.render(Mesh(vertices, body.faces), small).face_index.numpy()
        drawn = rasterizer.render(Mesh(vertices, faces), small)
        face = drawn.face_index.numpy()
        pixels, outward = outline(face >= 0, 1.5)
        rows, columns = pixels.T
        corners = faces.numpy()[face[rows, columns]]
        edge = np.minimum.reduce([columns, rows, small.width - 1 - columns, small.height - 1 - rows])
        keep = (edge > _CROP) & ~before[rows, columns]
        rows, columns, outward, corners = rows[keep], columns[keep], outward[keep], corners[keep]
        bary = drawn.barycentric.numpy()[rows, columns]
        depth = drawn.depth.numpy()[rows, columns]
        meters = depth / float(small.K[0, 0])  # per pixel
        start = np.stack([columns + 0.5, rows + 0.5], 1)
        pixel = max(float(np.median(meters)), 1e-6) if len(meters) else 1.0
        reach = limit / pixel
        dressed = ((bare.numpy()[corners] * bary).sum(1) < 0.5) & ~head[corners].any(1)  # hair may look like skin
        arms = (whole >= 0) & of_arms[whole]
        arms = like_skin & arms.any() & (ndimage.distance_transform_edt(~arms) < _BESIDE_ARM / pixel)
        gap = _march(inside, whole >= 0, arms, start, outward, dressed, reach + 2.0, _INWARD / limit * reach + 1.0) * meters

        _, slope = projection(small, vertices)
        speed = (slope @ direction[..., None])[..., 0].numpy()  # (V, 2) pixels per meter
        along = (speed[corners] * outward[:, None, :]).sum(-1) * bary * meters[:, None]
        good = np.isfinite(gap) & (along.sum(1) > 0.4)
        along, corners, gap = along[good], corners[good], gap[good]
        number = np.repeat(np.arange(len(along)), 3)
        rows_of = sparse.coo_matrix((along.ravel(), (number, column[corners].ravel())), (len(along), len(plate.free))).tocsr()
        target = gap + rows_of @ moved[plate.free]
        target = np.clip(target, -inward[corners].min(1), outward_limit[corners].min(1))
        weight = meters[good] / _TOLERANCE  # silhouettes have the same say per length
        outside = gap < 0.0  # of the person: there skin is as wrong as clothes are
        weight = weight * np.where(outside, 1.0, 1.0 - _LOOSE * (bare.numpy()[corners] * bary[good]).sum(1))
        system = plate.cost + rows_of.T @ sparse.diags(weight) @ rows_of
        moved[plate.free] = splu(system.tocsc()).solve(rows_of.T @ (weight * target))
        moved = moved.clip(-inward, outward_limit)
    return torch.from_numpy(moved[:, None] * plate.normals).float()
