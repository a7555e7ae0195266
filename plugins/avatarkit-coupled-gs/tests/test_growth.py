"""What grows beside the mesh: no more than the limit, and as dense as the matte."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from avatarkit.appearance.parsing import LABELS, Parsing
from avatarkit.interfaces import Subject
from avatarkit.testing import ReferenceRenderer, tiny_subject
from avatarkit.types.camera import front_camera
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.mesh import MeshRendering
from avatarkit.types.subject import Matte
from avatarkit_coupled_gs.config import CoupledConfig
from avatarkit_coupled_gs.placement.growth import Seeds, seed
from avatarkit_coupled_gs.placement.placing import Places

SIZE, ROOT = 64, 48  # pixels of the picture's side, and row below which a mesh a meter away shows the face
LAYERS = CoupledConfig.grow_layers


@cache
def _subject() -> Subject:
    return tiny_subject(size=SIZE)


def _grown(alpha: torch.Tensor, pixel: float, limit: int = CoupledConfig.grow_limit) -> Seeds:
    """Seeds of hair above a face with a matte (SIZE, SIZE), ``pixel`` meters apart."""
    rows = torch.arange(SIZE)[:, None].expand(SIZE, SIZE)
    face, hair = rows >= ROOT, rows < ROOT
    label = torch.where(hair, LABELS.index("hair"), LABELS.index("face"))
    probability = torch.nn.functional.one_hot(label, len(LABELS)).permute(2, 0, 1).float()
    fitted, depth = torch.where(face, label, -1), torch.ones(SIZE, SIZE)
    mesh = MeshRendering(face.float(), torch.where(face, 0, -1), torch.full((SIZE, SIZE, 3), 1 / 3), depth * face)
    camera, anchor = front_camera(SIZE, SIZE, 1 / pixel), torch.full((SIZE, SIZE), SIZE**2 - 1)
    parsing = Parsing(camera, pixel, probability, fitted, mesh, False, torch.zeros(SIZE, SIZE))
    places = Places(label, depth, torch.eye(4)[:1].repeat(SIZE**2, 1), anchor, torch.zeros(SIZE, SIZE, dtype=torch.bool))
    subject = replace(_subject(), camera=camera, matte=Matte(alpha, torch.full((SIZE, SIZE, 3), 0.2)))
    return seed(subject, mesh, fitted, parsing, places, CoupledConfig(grow_limit=limit))


def test_an_area_grows_on_the_first_grid_that_fits():
    alpha = torch.ones(SIZE, SIZE)
    assert len(_grown(alpha, 1e-3).label) == SIZE * ROOT * (1 + (LAYERS - 1) / 4)
    assert len(_grown(alpha, 1e-3, 1200).label) == SIZE * ROOT * (1 + (LAYERS - 1) / 4) / 4


@pytest.mark.parametrize("every", [1, 6])  # a whole area, and strands a pixel wide
@pytest.mark.parametrize("limit", [0, 1, 2, 50, 200, 500])
def test_no_more_grows_than_the_limit(every, limit):
    rows = torch.arange(SIZE)[:, None].expand(SIZE, SIZE)
    grown = len(_grown(((rows % every == 0) | (rows >= ROOT)).float(), 1e-3, limit).label)
    assert limit / 8 <= grown <= limit


@pytest.mark.parametrize("pixel", [4e-2, 1e-3, 2.5e-4])
def test_what_grows_is_as_dense_as_the_matte_from_near_and_far(pixel):
    """The smallest and the largest scale bound Gaussians of pixels that are very small or very large."""
    edge, config = 4, CoupledConfig()
    alpha = torch.ones(SIZE, SIZE)
    alpha[:ROOT] = 0.0
    alpha[edge:ROOT, edge:-edge] = 0.4
    seeds = _grown(alpha, pixel)
    assert seeds.scale.min() > 0.99 * config.min_scale and seeds.scale.max() < 1.01 * config.max_scale
    drawn = ReferenceRenderer().gaussians.render(
        Gaussians(seeds.position, seeds.scale, seeds.color, seeds.opacity), front_camera(SIZE, SIZE, 1 / pixel), torch.zeros(3)
    )
    assert drawn.alpha[2 * edge : ROOT - 2 * edge, 2 * edge : -2 * edge].mean().item() == pytest.approx(0.4, abs=0.05)
