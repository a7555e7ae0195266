"""Depth and skinning weights of what the photo shows beside the mesh, or before it.

Depth is diffused within a part; the three vertices of that part's surface that are nearest in space give the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from avatarkit.appearance.parsing import LABELS, Parsing, grid_edges, pixels_to
from avatarkit.geometry.mesh_graph import screened_poisson, smoothstep
from avatarkit.interfaces import BodyModel

__all__ = ["Places", "before", "place_parts", "same_surface"]

_PULL = 1e-3  # of a part's usual depth: it counts only where nothing of the part is near
_KNOWN = 1e3  # pull of the surface
_FARTHEST = 0.12  # meters from the surface of its part at which a pixel is not the part's any more; not of hair and held things
_HAND_OFF, _ARM_OFF = 0.01, 0.06  # the same of hands, and of arms in their sleeves
_SKIN_OFF = 0.002  # the same of bare limbs: skin does not stand off the body, the fit is wrong there
_BESIDE, _THICK = 1.2, 0.004  # how far it may lie from its part in space: times their distance in the picture, and meters more
_AROUND = 3  # vertices that move a pixel
_GRASP = 0.03  # meters from a hand up to which it is the hand that holds a thing
_TOUCH = 0.1  # part of a hand's pixels under a held thing that it may reach into
_CLEAR = 0.012  # meters that something lies before the surface that it hides
_PUSHED = 0.02  # meters that it may be moved forward for this; else the fit is wrong there, and it would fly off when it moves
_SPECK = 3e-4  # square meters of a piece that touches nothing of its part
_FLAP = 1e-3  # square meters of cloth beside the mesh that hang on their own
_LOOSE = 0.25  # meters below the chin over which hair goes over from the head to the trunk

_CHAIN = (("hair", "face"), ("face", "neck"), ("neck", "trunk"), ("trunk", "left_leg"), ("trunk", "right_leg"))
_LIMB = (("upper_arm", "forearm"), ("forearm", "hand"), ("leg", "foot"))
# What lies on these stays there, though they do not go over into each other: strings would hang from a raised arm.
_PAINTED = (("hair", "neck"), ("hair", "trunk"), ("trunk", "left_upper_arm"), ("trunk", "right_upper_arm"))
_LOWER_ARMS = torch.tensor([name.endswith(("forearm", "hand")) for name in LABELS])
_BEFORE = _LOWER_ARMS | torch.tensor([name == "held" for name in LABELS])
_HANDS, _UPPER_ARMS = (torch.tensor([name.endswith(part) for name in LABELS]) for part in ("hand", "upper_arm"))
_FREE = torch.tensor([name in ("hair", "held") for name in LABELS])
_OFF = torch.tensor([_HAND_OFF if n.endswith("hand") else _ARM_OFF if n.endswith("arm") else _FARTHEST for n in LABELS])
_LIMBS = torch.tensor([n.endswith(("arm", "hand", "leg", "foot")) for n in LABELS])
_HELD_BY = [LABELS.index(f"{side}_hand") for side in ("left", "right")]
_ARMS = [LABELS.index(f"{side}_{part}") for side in ("left", "right") for part in ("hand", "forearm", "upper_arm")]
_HAIR, _HELD, _OTHER = (LABELS.index(name) for name in ("hair", "held", "other"))


def _table(pairs: list[tuple[str, str]]) -> torch.Tensor:
    """(L, L) bool, symmetric, True on the diagonal."""
    table = torch.eye(len(LABELS), dtype=torch.bool)
    for a, b in pairs:
        table[LABELS.index(a), LABELS.index(b)] = table[LABELS.index(b), LABELS.index(a)] = True
    return table


def _group(number: int, name: str) -> int:
    """Return the label that stands for all parts of the same limb; a part of the trunk or head stands for itself."""
    for parts, end in ((("arm", "hand"), "hand"), (("leg", "foot"), "foot")):
        if name.endswith(parts):
            return LABELS.index(f"{name.split('_')[0]}_{end}")
    return number


_GROUP = torch.tensor([_group(number, name) for number, name in enumerate(LABELS)])
"""A limb's parts move as one: a pixel beside a hand is the hand's, whichever part of the arm it looks like."""
_GOES_OVER = _table([*_CHAIN, *((f"{s}_{a}", f"{s}_{b}") for s, (a, b) in product(("left", "right"), _LIMB))])
_SAME_SURFACE = _GOES_OVER | _table(list(_PAINTED))


@dataclass(frozen=True)
class Places:
    """Where on the parsing's grid parts lie that the photo shows, and what moves them.

    Attributes:
        label: (h, w) int64 of ``LABELS``; -1 where nothing is placed.
        depth: (h, w) meters. weights: (h * w, J) over all joints, rows of placed pixels sum to one.
        anchor: (h, w) int64, the pixel, counted row by row, of the surface whose expression they follow.
        bare: (h, w) bool, skin of limbs, beside which nothing grows.
    """

    label: torch.Tensor
    depth: torch.Tensor
    weights: torch.Tensor
    anchor: torch.Tensor
    bare: torch.Tensor


def same_surface(label: torch.Tensor, fitted: torch.Tensor) -> torch.Tensor:
    """(...) bool: what a pixel shows is painted on the part of the mesh there; labels (...), -1 where there is no mesh."""
    return (fitted >= 0) & _SAME_SURFACE[label, fitted.clamp(min=0)]


def before(label: torch.Tensor, fitted: torch.Tensor) -> torch.Tensor:
    """(...) bool: what a pixel shows lies before the part of the mesh there.

    A forearm, hand or held thing; hair before limbs; a sleeve before a hand.
    """
    sleeve = _UPPER_ARMS[label] & _HANDS[fitted.clamp(min=0)]
    return (fitted >= 0) & ~same_surface(label, fitted) & (_BEFORE[label] | (label == _HAIR) | sleeve)


def place_parts(
    parsing: Parsing, body: BodyModel, labels: torch.Tensor, vertices: torch.Tensor, bare: torch.Tensor, held: bool
) -> Places:
    """Find depth and weights at pixels that are not on their part's surface.

    Depth is diffused from where the part touches its surface. The three vertices of that surface that are nearest in space then
    move a pixel, so that it never follows anything farther off than what it lies on.

    Args:
        labels: (V,) of ``vertex_labels``. vertices: (V, 3) of the posed mesh, world. bare: (V,) bool, skin without clothes.
        held: place what hands hold, too.
    """
    label, fitted, drawn = parsing.probability.argmax(0), parsing.fitted, parsing.drawn
    surface = (fitted >= 0) & _GOES_OVER[label, fitted.clamp(min=0)]
    wanted = (label != _OTHER) & (held | (label != _HELD)) & ((fitted < 0) | before(label, fitted))
    away = _from_its_part(label, surface) * parsing.meter
    anchors = _anchors(label, surface)
    on_skin = bare[body.faces[drawn.face_index.reshape(-1)[anchors].clamp(min=0), 0]] | (parsing.skin > 0.5)
    on_skin &= _LIMBS[label] & ~_HANDS[label]
    most = torch.where(on_skin, _SKIN_OFF, _OFF[label].clamp(min=1.5 * parsing.meter))
    wanted &= (_FREE[label] | (away < most)) & _pieces(label, wanted | surface, _SPECK, parsing.meter, away < 1.5 * parsing.meter)
    # The mesh wears the clothes. What little of them its outline misses would be a flap that hangs in the air.
    wanted &= _FREE[label] | (fitted >= 0) | _pieces(label, wanted & (fitted < 0), _FLAP, parsing.meter)
    # Shade along a forearm or hand looks like the clothes, and would stay in the air beside them.
    wanted &= (_FREE | _LOWER_ARMS)[label] | (fitted >= 0) | (away <= parsing.meter * pixels_to(_LOWER_ARMS[label]))
    at = parsing.camera.to_camera(vertices)
    depth = _diffused(label, surface, wanted, torch.where(surface, drawn.depth, 0.0), _usual(labels, at[:, 2]))
    table = torch.zeros(len(labels), len(body.joint_names)).scatter_add(1, body.skinning_indices, body.skinning_weights)
    depth, weights, near = _bound(depth, label, wanted | surface, away, parsing, labels, at, table)
    wanted &= near | _FREE[label]
    _bind_hair(weights, label, fitted, parsing.meter, wanted, table, labels)
    depth, weights = _grasped(depth, weights, label, wanted, parsing, labels, at, table)
    shift = (depth - drawn.depth + _CLEAR).clamp(min=0.0) * (fitted >= 0) * wanted * (label != _HELD)
    wanted &= shift < torch.where(_FREE[label], 5 * _PUSHED, _PUSHED)
    return Places(torch.where(surface | wanted, label, -1), depth - shift, weights, anchors, on_skin)


def _from_its_part(label: torch.Tensor, surface: torch.Tensor) -> torch.Tensor:
    """(h, w) pixels to the nearest pixel on the surface of the same part, or of one that it goes over into."""
    away = torch.full(label.shape, torch.inf)
    for number in label.unique().tolist():
        mine = surface & _near_part(number)[label]
        if mine.any():
            found = torch.from_numpy(ndimage.distance_transform_edt(~mine.numpy())).float()
            away = torch.where(label == number, found, away)
    return away


def _near_part(number: int) -> torch.Tensor:
    """(L,) bool, labels of the surfaces that may hold a label."""
    return _GOES_OVER[number] | (_GROUP[number] == _GROUP)


def _pieces(
    label: torch.Tensor, area: torch.Tensor, least: float, meter: float, touching: torch.Tensor | None = None
) -> torch.Tensor:
    """(h, w) bool, pixels of ``area`` in pieces of one part, of ``least`` square meters or with a pixel that is ``touching``."""
    keep = torch.zeros_like(area)
    for number in label[area].unique().tolist():
        pieces, count = ndimage.label((area & (label == number)).numpy(), np.ones((3, 3)))
        kept = np.bincount(pieces.ravel(), minlength=count + 1) * meter**2 > least
        if touching is not None:
            kept[np.unique(pieces[touching.numpy()])] = True
        kept[0] = False
        keep |= torch.from_numpy(kept[pieces])
    return keep


def _usual(labels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """(L,) the middle depth of each part's vertices; 0 for parts without any."""
    usual = torch.zeros(len(LABELS))
    for number in labels.unique().tolist():
        usual[number] = depth[labels == number].median()
    return usual


def _diffused(
    label: torch.Tensor, surface: torch.Tensor, wanted: torch.Tensor, depth: torch.Tensor, usual: torch.Tensor
) -> torch.Tensor:
    """(h, w) depths, smooth over ``wanted`` pixels of a part, that keep to ``depth`` where its surface touches them.

    Where no surface of the part is near, they are as ``usual`` (L,).
    """
    if not wanted.any():
        return depth
    rim = surface & torch.from_numpy(ndimage.binary_dilation(wanted.numpy()))
    nodes = wanted | rim
    group = _GROUP[label[nodes]]
    edges = grid_edges(nodes)
    edges = edges[group[edges[:, 0]] == group[edges[:, 1]]]  # parts that meet in the picture need not meet in space
    weight = torch.where(rim[nodes], _KNOWN, 0.0)
    pull = torch.full_like(weight, _PULL)
    found = screened_poisson(edges, torch.ones(len(edges)), depth[nodes][:, None], weight, usual[label[nodes]][:, None], pull)
    out = depth.clone()
    out[wanted] = found[wanted[nodes], 0]
    return out


def _bound(
    depth: torch.Tensor,
    label: torch.Tensor,
    wanted: torch.Tensor,
    away: torch.Tensor,
    parsing: Parsing,
    labels: torch.Tensor,
    at: torch.Tensor,
    table: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(h, w) depths, (h * w, J) weights, and whether a pixel lies no farther from its part in space than in the picture.

    Near the outline of a limb that points to the camera depth changes by centimeters from pixel to pixel; what comes out far
    from the limb gets the depth of the vertex that is nearest to it.

    Args:
        depth, label, wanted, away: (h, w) meters; labels; pixels to bind; meters to the part in the picture.
        labels, at, table: (V,), (V, 3) in the camera's axes, and (V, J) skinning weights of the mesh.
    """
    K = parsing.camera.K
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in label.shape), indexing="ij")
    ray = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1)
    depth, near = depth.clone(), torch.zeros_like(label, dtype=torch.bool)
    weights = torch.zeros(label.numel(), table.shape[1])
    limit = _BESIDE * away + _THICK
    for number in label[wanted].unique().tolist():
        of_part = torch.nonzero(_near_part(number)[labels])[:, 0]
        here = wanted & (label == number) & away.isfinite()
        if len(of_part) < _AROUND or not here.any():
            continue
        tree = cKDTree(at[of_part].numpy())
        off, nearest = tree.query((ray[here] * depth[here][:, None]).numpy())
        far = torch.from_numpy(off) > limit[here]
        depth[here] = torch.where(far, at[of_part][torch.from_numpy(nearest), 2], depth[here])
        off, nearest = tree.query((ray[here] * depth[here][:, None]).numpy(), k=_AROUND)
        share = 1.0 / (torch.from_numpy(off).float() + 1e-3)
        share = share / share.sum(1, keepdim=True)
        weights[here.reshape(-1)] = (table[of_part[torch.from_numpy(nearest)]] * share[..., None]).sum(1)
        near[here] = torch.from_numpy(off[:, 0]) <= limit[here]
    return depth, weights, near


def _grasped(
    depth: torch.Tensor,
    weights: torch.Tensor,
    label: torch.Tensor,
    wanted: torch.Tensor,
    parsing: Parsing,
    labels: torch.Tensor,
    at: torch.Tensor,
    table: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depths (h, w) and weights (h * w, J) of held things: each is one rigid body on its hand, or on the arm that it hides."""
    depth, weights = depth.clone(), weights.clone()
    pieces, count = ndimage.label(((label == _HELD) & wanted).numpy(), np.ones((3, 3)))
    drawn = parsing.drawn.depth
    for number in range(1, count + 1):
        piece = torch.from_numpy(pieces == number)
        hand = min(_HELD_BY, key=lambda part: _apart(piece, label, parsing, part))
        hides = torch.stack([piece & (parsing.fitted == part) for part in _ARMS]).sum((1, 2))
        if _apart(piece, label, parsing, hand) > _GRASP and hides.any():  # it lies before an arm
            hand = _ARMS[int(hides.argmax())]
        mine = labels == hand
        if not mine.any():
            wanted[piece] = False
            continue
        on = piece & (parsing.fitted == hand)
        z = drawn[on].quantile(_TOUCH) if on.any() else at[mine, 2].median()
        before_it = piece & (parsing.fitted >= 0)
        if before_it.any():
            front = drawn[before_it].quantile(_TOUCH) - _CLEAR
            if z - front > 5 * _PUSHED:  # the hand that the fit found is not the one that the photo shows there
                wanted[piece] = False
                continue
            z = torch.minimum(z, front)
        depth[piece] = z
        rows = torch.zeros(table.shape[1])
        rows[int(table[mine].sum(0).argmax())] = 1.0
        weights[piece.reshape(-1)] = rows
    return depth, weights


def _apart(piece: torch.Tensor, label: torch.Tensor, parsing: Parsing, part: int) -> float:
    """Return the meters between a piece (h, w) of the picture and a part there."""
    return float(pixels_to((label == part) | (parsing.fitted == part))[piece].min()) * parsing.meter


def _bind_hair(
    weights: torch.Tensor,
    label: torch.Tensor,
    fitted: torch.Tensor,
    meter: float,
    wanted: torch.Tensor,
    table: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    """Hangs hair on the head and, farther below the chin, on the trunk below the neck; writes into ``weights`` (h * w, J)."""
    hair, face = wanted & (label == _HAIR), fitted == LABELS.index("face")
    head = (labels == LABELS.index("face")) | (labels == _HAIR)
    if not hair.any() or not head.any():
        return
    joint, trunk = int(table[head].sum(0).argmax()), labels == LABELS.index("trunk")
    chin = int(torch.nonzero(face.any(1))[-1, 0]) if face.any() else label.shape[0]
    row = torch.arange(label.shape[0])[:, None].expand_as(label)[hair]
    on_trunk = smoothstep((row - chin) * meter, 0.0, _LOOSE)
    rows = torch.zeros(len(row), weights.shape[1])
    rows[:, joint] = 1.0 - on_trunk
    rows[:, _below_neck(table, labels) if trunk.any() else joint] += on_trunk
    weights[hair.reshape(-1)] = rows


def _below_neck(table: torch.Tensor, labels: torch.Tensor) -> int:
    """Return the joint of the trunk that moves most of what the neck's vertices share with it."""
    shared, own = (table[labels == LABELS.index(name)].sum(0) for name in ("neck", "trunk"))
    return int((torch.minimum(shared, own) + 1e-6 * own).argmax())


def _anchors(label: torch.Tensor, surface: torch.Tensor) -> torch.Tensor:
    """(h, w) int64, the nearest pixel on the surface of the same part, of any part where there is none."""
    width = label.shape[1]

    def nearest(mask: torch.Tensor) -> torch.Tensor:
        row, column = ndimage.distance_transform_edt(~mask.numpy(), return_distances=False, return_indices=True)
        return torch.from_numpy(row.astype(np.int64) * width + column)

    anchor = nearest(surface)
    for number in label.unique().tolist():
        mine = surface & (_GROUP[label] == _GROUP[number])
        if mine.any():
            anchor = torch.where(label == number, nearest(mine), anchor)
    return anchor
