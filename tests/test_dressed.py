"""Avatars of synthetic dressed people are as close to the truth in other poses and views as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch

from avatarkit.animation import LoadedAvatar
from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.registry import Registry
from avatarkit.testing.dressed import PEOPLE, PHOTO, VIEWS, DressedPerson, View, build_dressed, score
from avatarkit.testing.truth import truth_registry
from avatarkit.testing.wardrobe.pieces import Piece, clipped
from avatarkit.types.camera import orbit
from avatarkit.types.mesh import barycentric

pytestmark = pytest.mark.slow

# Person and view -> least decibels on surface that the photo shows, on surface that it hides, and least IoU of silhouettes, at
# the preset ``instant``. They are what was measured less 0.3 dB, 0.5 dB and 0.01: one machine repeats its bits, and another
# one's last bits move the fit a little. Raise them when avatars get better. The comments say what costs most.
# `python benchmarks/dressed_people.py` prints the figures.
FLOORS = {
    ("skirt", "arms raised"): (19.4, 13.4, 0.929),  # armpits: the photo shows no cloth between arm and chest
    ("skirt", "arms crossed"): (21.2, 17.1, 0.960),  # stripes a few pixels off; arms before the chest are plain skin
    ("skirt", "turned"): (15.6, 13.3, 0.928),  # the skirt's depth is that of the legs, and its sides have no dots
    ("skirt", "hands forward"): (21.6, 16.4, 0.955),
    ("shirt", "arms raised"): (19.0, 17.7, 0.947),  # a pale rim around the sleeves
    ("shirt", "arms crossed"): (21.8, 15.1, 0.953),  # forearms turn up a side without checks
    ("shirt", "turned"): (17.5, 15.9, 0.893),  # the side of the trunk has no checks
    ("shirt", "hands forward"): (22.7, 16.6, 0.945),  # undersides of sleeves have no checks
    ("sleeves", "arms raised"): (20.2, 16.1, 0.923),  # parts of wide sleeves stay at the hips
    ("sleeves", "arms crossed"): (24.5, 14.8, 0.932),  # wide sleeves have a front only
    ("sleeves", "turned"): (18.6, 17.0, 0.922),  # smooth hair where the true one has curls
    ("sleeves", "hands forward"): (28.0, 12.9, 0.889),  # the insides of wide sleeves are missing
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return truth_registry()


@pytest.fixture(scope="module")
def make(registry: Registry) -> Callable[[str], DressedPerson]:
    components = Components(Recipe.load("instant"), registry, "cpu")
    return lambda name: DressedPerson(name, components.get("body"), components.get("renderer").meshes)


@pytest.fixture(scope="module")
def avatar_of(
    make: Callable[[str], DressedPerson], registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], LoadedAvatar]:
    return cache(lambda name: build_dressed(make(name), tmp_path_factory.mktemp(name), registry))


@pytest.mark.parametrize("name", PEOPLE)
def test_avatars_are_as_close_to_the_truth_as_they_were(
    name: str, make: Callable[[str], DressedPerson], avatar_of: Callable[[str], LoadedAvatar]
) -> None:
    person, missed = make(name), []
    for view, how in VIEWS.items():
        found = score(person, avatar_of(name), how)
        for figure, floor in zip(("shown", "hidden", "iou"), FLOORS[name, view], strict=True):
            value = getattr(found, figure)
            print(f"{name}, {view}: {figure} {value:.3f}, at least {floor}")
            if not value >= floor:
                missed.append(f"{view}: {figure} {value:.3f} is below {floor}")
    assert not missed, "; ".join(missed)


def test_closed_lids_hide_the_eyes_and_are_skin(avatar_of: Callable[[str], LoadedAvatar]) -> None:
    """Lids unfold up to fivefold over eyeballs that are close behind them."""
    avatar = avatar_of("shirt")
    model, names = avatar.model, list(avatar.body.expression_names)
    shut = avatar.photo_params.expression.clone()
    shut[[names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]] = 1.0
    with torch.no_grad():
        posed = model.pose(replace(avatar.photo_params, expression=shut))
        eyes = barycentric(avatar.body.part("eyes")[:, None], model.triangles, model.weights)[:, 0] > 0.5
        at = avatar.photo_camera.project(posed.mesh.vertices[avatar.body.part("eyelids") > 0.5])
        (x0, y0), (x1, y1) = at.amin(0).tolist(), at.amax(0).tolist()
        width, height = max(8, round(x1 - x0)), max(4, round(y1 - y0))
        camera = avatar.photo_camera.cropped(x0, y0, width, height).resized(240, round(240 * height / width))
        green = torch.where(eyes[:, None], torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0]))
        drawn = avatar.renderer.gaussians.render(replace(posed.gaussians, colors=green), camera, torch.zeros(3)).rgb
    assert int(eyes.sum()) > 1000
    assert float((drawn[..., 1] > 0.2).float().mean()) < 2e-3


def test_clothes_of_other_colors_cost_decibels_and_no_silhouette(
    make: Callable[[str], DressedPerson], avatar_of: Callable[[str], LoadedAvatar], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, worn = PEOPLE["shirt"], score(make("shirt"), avatar_of("shirt"), PHOTO)
    monkeypatch.setitem(PEOPLE, "shirt", replace(look, top=replace(look.top, pattern=PEOPLE["sleeves"].top.pattern)))
    other = score(make("shirt"), avatar_of("shirt"), PHOTO)
    assert other.shown < worn.shown - 5 and other.iou == worn.iou


def test_every_person_and_view_has_floors() -> None:
    assert set(FLOORS) == {(person, view) for person in PEOPLE for view in VIEWS}


def test_the_truth_knows_what_the_photo_shows(make: Callable[[str], DressedPerson]) -> None:
    person = make("shirt")
    middle = person.trunk(person.params)
    front = person.draw(person.params, person.camera)
    again = person.draw(person.params, person.camera)
    assert torch.equal(front.color, again.color) and torch.equal(front.alpha, again.alpha)

    def share(view: View) -> float:
        drawn = person.draw(person.pose(view), orbit(person.camera, middle, view.yaw))
        return float(person.shown(drawn)[drawn.alpha > 0.5].mean())

    assert share(PHOTO) > 0.97
    assert share(replace(PHOTO, yaw=180.0)) < 0.01
    assert 0.7 < share(VIEWS["turned"]) < 0.95


def test_hems_cut_through_triangles() -> None:
    square = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    weights = torch.stack([square[:, 0], 1 - square[:, 0]], 1)
    piece = Piece(square, faces, weights, PEOPLE["shirt"].top.pattern)
    cut = clipped(piece, square[:, 0] - 0.25)
    a, b, c = cut.rest[cut.faces].unbind(1)
    areas = torch.linalg.cross(b - a, c - a)[:, 2] / 2
    assert float(areas.sum()) == pytest.approx(0.75) and (areas > 0).all()  # all still face the same way
    assert float(cut.rest[:, 0].min()) == pytest.approx(0.25)
    assert torch.allclose(cut.weights[:, 0], cut.rest[:, 0])
