"""Makes ``tests/golden.npz``: bodies from the ``anny`` package itself, in float64, to test the model against.

    python tools/make_golden.py tests/golden.npz

Takes two minutes and needs about 2 GB of memory; Anny's cache goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import anny
import numpy as np
import roma
import torch
from anny.models.model_data import TopologyConfig

from avatarkit_anny import source
from avatarkit_anny.topology import topology

CASES = 6
VERTICES = 700  # of the whole mesh, and all teeth
ADULTS = 3  # the first cases; the others are of any age
REST_FROM_ANNY = torch.from_numpy(source.REST_FROM_ANNY)


def make_model() -> anny.Anny:
    """Anny with all vertices of the base mesh, so that teeth are there, and with each identity's own A-pose as rest."""
    every_vertex = dataclasses.replace(TopologyConfig.from_string("anny"), remove_unattached_vertices=False)
    model = anny.Anny(
        rig="anny",
        topology=every_vertex,
        facial_actions="all",
        phenotypes="all",
        local_changes="default",
        skinning_method="lbs",
        phenotype_blendshapes="original",
    )
    model.reference_bone_orientations = None
    return model


def random_inputs(model: anny.Anny, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Parameters of all cases."""

    def uniform(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    phenotypes = uniform(CASES, len(model.phenotype_labels))
    age = model.phenotype_labels.index("age")
    phenotypes[:ADULTS, age] = 0.5 + 0.5 * phenotypes[:ADULTS, age]
    phenotypes[ADULTS:, age] = phenotypes[ADULTS:, age] * 4 / 3 - 1 / 3
    return {
        "shape": torch.cat([phenotypes, 0.3 * normal(CASES, len(model.local_change_labels))], 1),
        "expression": 0.5 * uniform(CASES, len(model.facial_action_labels)),
        "root": normal(CASES, 3),
        "translation": normal(CASES, 3),
        "joints": 0.4 * normal(CASES, len(model.bone_labels), 3),
    }


def evaluate(model: anny.Anny, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Anny's output in rest-space axes, with the root joint at the translation."""
    turn = REST_FROM_ANNY
    phenotypes = inputs["shape"][:, : len(model.phenotype_labels)]
    local = inputs["shape"][:, len(model.phenotype_labels) :]
    rotation = roma.rotvec_to_rotmat(torch.cat([inputs["root"][:, None], inputs["joints"][:, 1:]], 1))
    pose = torch.eye(4, dtype=torch.float64).repeat(*rotation.shape[:2], 1, 1)
    pose[..., :3, :3] = turn.T @ rotation @ turn
    out = model(pose, phenotypes, local, inputs["expression"])
    frames, origin = out["bone_poses"][..., :3, :3], out["bone_poses"][:, :1, :3, 3]
    return {
        "rest": out["rest_vertices"] @ turn.T,
        "posed": (out["vertices"] - origin) @ turn.T + inputs["translation"][:, None],
        "heads": (out["bone_poses"][..., :3, 3] - origin) @ turn.T + inputs["translation"][:, None],
        "frames": turn @ frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    path = parser.parse_args().output

    generator = torch.Generator().manual_seed(0)
    mesh = topology(source.read_mesh(source.data_folder()))
    with tempfile.TemporaryDirectory() as cache:
        anny.paths.set_anny_cache_path(cache)
        model = make_model()
    inputs = random_inputs(model, generator)
    outputs = evaluate(model, inputs)
    some = torch.randperm(len(mesh.base), generator=generator)[:VERTICES].numpy()
    subset = np.union1d(some, np.flatnonzero(mesh.groups["teeth"]))
    for name in ("rest", "posed"):
        outputs[name] = outputs[name][:, mesh.base[subset]]
    names = {
        "shape_names": model.phenotype_labels + model.local_change_labels,
        "expression_names": model.facial_action_labels,
        "joint_names": model.bone_labels,
    }
    arrays: dict[str, Any] = {name: np.array(value) for name, value in names.items()}
    arrays |= {name: value.numpy().astype(np.float32) for name, value in (inputs | outputs).items()}
    np.savez_compressed(path, subset=subset.astype(np.int32), **arrays)


if __name__ == "__main__":
    main()
