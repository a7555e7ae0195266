"""Gaussians outside the surface: what the photo shows beside the mesh, or before it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch.nn import functional

from avatarkit.appearance.parsing import LABELS, Parsing
from avatarkit.interfaces import Subject
from avatarkit.reference.gaussians import DILATION
from avatarkit.types.mesh import MeshRendering
from avatarkit_coupled_gs.config import CoupledConfig
from avatarkit_coupled_gs.deformation.rigid import strongest
from avatarkit_coupled_gs.placement.placing import Places, before

__all__ = ["Seeds", "lasting", "seed"]

_FAINT = 0.05  # alpha from which hair is seen; of all else half
_BORDER = 2.0  # pixels beside the mesh in which a matte's border is that of its sampling, not hair
_SURE = 0.5  # probability from which something lies before another part
_GAP = 0.005  # meters between pieces that hang together, if seeds are not farther apart
_THING = 0.05  # meters; what is held and larger need not touch the fitted hand
_STRETCH = 3.0  # times their distance in the photo that neighbors may be apart at rest
_BESIDE, _BESIDE_SKIN = 2.5, 0.5  # pixels of the parsing's grid from which a pixel takes what its part does; of bare limbs


@dataclass(frozen=True)
class Seeds:
    """M points beside the surface.

    Attributes:
        label: (M,) int64 of ``LABELS``. face: (M,) int64 face whose expression each follows. barycentric: (M, 3) where on it.
        joints: (M, 4) int64 and weights: (M, 4) that move it. position: (M, 3) world, meters, in the photo's pose.
        color: (M, 3) sRGB. scale: (M,) meters. opacity: (M,) with which all of them together cover as much as the matte says.
    """

    label: torch.Tensor
    face: torch.Tensor
    barycentric: torch.Tensor
    joints: torch.Tensor
    weights: torch.Tensor
    position: torch.Tensor
    color: torch.Tensor
    scale: torch.Tensor
    opacity: torch.Tensor

    def __add__(self, other: Seeds) -> Seeds:
        names = [f.name for f in fields(self)]
        return Seeds(**{n: torch.cat([getattr(self, n), getattr(other, n)]) for n in names})

    def __getitem__(self, kept: torch.Tensor) -> Seeds:
        """Those of a mask (M,)."""
        return Seeds(**{f.name: getattr(self, f.name)[kept] for f in fields(self)})


def seed(
    subject: Subject,
    mesh: MeshRendering,
    fitted: torch.Tensor,
    parsing: Parsing,
    places: Places,
    config: CoupledConfig,
) -> Seeds:
    """Seed Gaussians at pixels that show a part of the person beside the mesh, or before another part of it.

    Beside the mesh lie ``grow_layers`` layers around the depth that ``places`` says, within a thickness that grows with the
    distance to the matte's border, as a rounded body would have; those behind the first, which the photo does not show, are half
    as dense.

    Args:
        subject: the tracked photo.
        mesh: the deformed mesh seen by the photo's camera, at the photo's size. fitted: (H, W) its labels, -1 off it.
        parsing, places: what the photo shows, and where.
        config: how many grow, and how large.
    """
    layers, limit = config.grow_layers, config.grow_limit
    alpha = subject.matte.alpha.cpu().numpy()
    covered = mesh.face_index.cpu().numpy() >= 0
    to_mesh = distance_transform_edt(~covered)
    label, cell, sure = _cells((alpha > _FAINT) & _perhaps(parsing, *alpha.shape), parsing, places)
    faint = (label == LABELS.index("hair")) & ((to_mesh == 0) | (to_mesh > _BORDER))
    label[(alpha <= 0.5) & ~faint] = -1
    bare = (label >= 0) & ~covered
    front = sure & covered & (label >= 0) & before(torch.from_numpy(label.clip(min=0)), fitted.cpu()).numpy()
    depth = places.depth.reshape(-1).numpy()[cell]
    inside = distance_transform_edt(np.pad(alpha > 0.5, 1))[1:-1, 1:-1]
    half = np.minimum(inside, 0.5 * to_mesh + 2.0) * depth / float(subject.camera.K[0, 0])
    pixels = [np.stack(np.nonzero(mask)) for mask in (front, *[bare] * layers)]
    stride = max(1, int(np.ceil(np.sqrt((bare.sum() * (1 + (layers - 1) / 4) + front.sum()) / max(limit, 1)))))
    while True:
        steps = [stride, stride, *[2 * stride] * (layers - 1)]
        chosen = [at[:, (at % step == 0).all(0)] for at, step in zip(pixels, steps, strict=True)]
        if sum(at.shape[1] for at in chosen) <= limit or stride > max(alpha.shape):
            break
        stride += 1 + stride // 8  # strands have more pixels on a grid than areas have
    middles = [0.0, *(np.linspace(-1, 1, layers) if layers > 1 else (0.0,))]
    total: Seeds | None = None
    for number, (at, step, middle) in enumerate(zip(chosen, steps, middles, strict=True)):
        z = (depth + middle * half)[*at]
        passed = steps[1:] if number else steps[:1]
        made = _seeds(subject, parsing, places, at, label[*at], cell[*at], z, step, passed, config)
        total = made if total is None else total + made
    assert total is not None
    return total[torch.arange(len(total.label)) < limit]


def _perhaps(parsing: Parsing, height: int, width: int) -> np.ndarray:
    """(H, W) bool, pixels near those of the grid that are not on the surface of what they show."""
    off = (parsing.probability.argmax(0) != parsing.fitted).float()
    off = functional.max_pool2d(off[None, None], 5, 1, 2)
    return (functional.interpolate(off, (height, width))[0, 0] > 0).numpy()


def _cells(seen: np.ndarray, parsing: Parsing, places: Places) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what pixels ``seen`` show, a label or -1, which pixel of the grid says where, and whether it is sure; (H, W)."""
    height, width = seen.shape
    h, w = places.label.shape
    at = np.stack(np.nonzero(seen))
    grid = torch.from_numpy((at[::-1] + 0.5) / np.array([[width], [height]]) * 2 - 1).float().T
    sampled = functional.grid_sample(parsing.probability[None], grid[None, None], align_corners=False, padding_mode="border")
    chance, label = (t.numpy() for t in sampled[0, :, 0].max(0))
    y, x = (at[0] * h) // height, (at[1] * w) // width
    cell = np.full(len(label), -1)
    for number in np.unique(label):
        mine = places.label.numpy() == number
        if not mine.any():
            continue
        away, (row, column) = distance_transform_edt(~mine, return_indices=True)
        nearest = (row * w + column)[y, x]
        reach = np.where(places.bare.reshape(-1).numpy()[nearest], _BESIDE_SKIN, _BESIDE)
        here = (label == number) & (away[y, x] < reach)
        cell[here] = nearest[here]
    labels, cells, sure = np.full(seen.shape, -1), np.zeros(seen.shape, dtype=np.int64), np.zeros(seen.shape, dtype=bool)
    kept = cell >= 0
    labels[*at[:, kept]], cells[*at[:, kept]], sure[*at[:, kept]] = label[kept], cell[kept], chance[kept] > _SURE
    return labels, cells, sure


def lasting(seeds: Seeds, rest: torch.Tensor, surface: torch.Tensor) -> torch.Tensor:
    """(M,) bool, seeds that keep together and hang on the body at rest, where limbs are apart; large held things may float.

    Args:
        rest: (M, 3) of the seeds. surface: (n, 3) points on the resting mesh, as dense as its Gaussians.
    """
    if len(rest) < 2:
        return torch.zeros(len(rest), dtype=torch.bool)
    distance, near = cKDTree(seeds.position.numpy()).query(seeds.position.numpy(), k=min(5, len(rest)))
    apart = (rest[torch.from_numpy(near)] - rest[:, None]).norm(dim=-1)[:, 1:].mean(1)
    together = (apart < _STRETCH * torch.from_numpy(distance[:, 1:].mean(1))).numpy()
    spacing = float(np.median(distance[:, 1]))
    gap = max(_GAP, 1.5 * spacing)
    piece, count = _pieces_in_space(rest.numpy(), gap)
    rooted = np.bincount(piece, cKDTree(surface.numpy()).query(rest.numpy())[0] < gap + _BORDER * spacing, minlength=count) > 0
    held = np.bincount(piece, seeds.label == LABELS.index("held"), minlength=count) > 0
    extent = [np.ptp(rest[piece == k].numpy(), axis=0).max() if held[k] else 0.0 for k in range(count)]
    return torch.from_numpy(together & (rooted | (np.array(extent) > _THING))[piece])


def _pieces_in_space(points: np.ndarray, gap: float) -> tuple[np.ndarray, int]:
    """(n,) number of the piece that each of (n, 3) points belongs to, and how many pieces hang together by less than ``gap``."""
    cells, of = np.unique(np.floor(points / gap).astype(np.int64), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(1.5, output_type="ndarray")  # cells that share a face or an edge
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(cells), len(cells)))
    count, piece = connected_components(graph, directed=False)
    return piece[of.reshape(-1)], count


def _scale(pixel: np.ndarray, stride: int, config: CoupledConfig) -> np.ndarray:
    """(n,) meters, scale of Gaussians that are ``stride`` pixels of ``pixel`` (n,) meters apart."""
    return (pixel * stride * config.scale_factor).clip(config.min_scale, config.max_scale)


def _seeds(
    subject: Subject,
    parsing: Parsing,
    places: Places,
    at: np.ndarray,
    label: np.ndarray,
    cell: np.ndarray,
    z: np.ndarray,
    stride: int,
    passed: list[int],
    config: CoupledConfig,
) -> Seeds:
    """At pixels (2, n) and depths (n,), moved as the grid's pixels ``cell`` (n,) are.

    Args:
        stride: pixels between them. passed: the same of each layer that a pixel's light passes.
    """
    camera = subject.camera.to("cpu")
    y, x = at
    pixel = z / float(camera.K[0, 0])  # meters across one
    covering = sum(2 * np.pi * ((_scale(pixel, n, config) / pixel) ** 2 + DILATION) / n**2 for n in passed)  # in Gaussians
    # transmittances multiply: what all that touch a pixel leave of its light makes the matte's alpha
    opacity = 1 - (1 - subject.matte.alpha.cpu().numpy()[y, x].clip(max=0.99)) ** (1 / covering)
    K = camera.K.numpy()
    in_camera = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0] * z, (y + 0.5 - K[1, 2]) / K[1, 1] * z, z], 1)
    R, t = camera.T_camera_world[:3, :3], camera.T_camera_world[:3, 3]
    index = torch.from_numpy(cell)
    joints, weights = strongest(places.weights[index])
    anchor = places.anchor.reshape(-1)[index]
    return Seeds(
        label=torch.from_numpy(label),
        face=parsing.drawn.face_index.reshape(-1)[anchor].clamp(min=0),
        barycentric=parsing.drawn.barycentric.reshape(-1, 3)[anchor].float(),
        joints=joints,
        weights=weights,
        position=(torch.from_numpy(in_camera.astype(np.float32)) - t) @ R,
        color=subject.matte.foreground.cpu()[torch.from_numpy(y), torch.from_numpy(x)],
        scale=torch.from_numpy(_scale(pixel, stride, config).astype(np.float32)),
        opacity=torch.from_numpy(opacity.astype(np.float32)),
    )
