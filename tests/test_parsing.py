"""Parsing: which part each pixel of a photo shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from avatarkit.appearance.color_mixture import ColorMixture
from avatarkit.appearance.hands import seen_hands
from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.parsing import LABELS, _thing, parse, pixels_to, vertex_labels
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte

SKIN, CLOTH, THING = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.2, 0.3, 0.6]), torch.tensor([0.1, 0.7, 0.1])
"""Of head and hands, of clothes, of what is held."""


@pytest.fixture(scope="module")
def scene():
    """A tiny person in two colors: subject, vertices, labels of the vertices."""
    subject, body, renderer = tiny_subject(size=192), TinyBody(), ReferenceRenderer()
    vertices = body.vertices(subject.params)[0]
    labels = vertex_labels(body, subject.params.shape)
    drawn = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
    naked = torch.isin(body._owner, torch.tensor([2, 4, 6]))[body.faces[drawn.face_index.clamp(min=0), 0]]
    image = torch.where(naked[..., None], SKIN, CLOTH)
    return _with(subject, image), vertices, labels


def _with(subject, image, alpha=None):
    alpha = subject.matte.alpha if alpha is None else alpha
    photo = replace(subject.photo, image=torch.where(alpha[..., None] > 0.5, image, torch.tensor([0.1, 0.5, 0.2])))
    return replace(subject, photo=photo, matte=Matte(alpha, image))


def _share(parsing, mask: np.ndarray | torch.Tensor, *names: str) -> float:
    """Mean probability of labels over the pixels of the photo in ``mask``."""
    numbers = [LABELS.index(n) for n in names]
    return float(parsing.at(*mask.shape)[numbers].sum(0)[torch.as_tensor(mask)].mean())


def test_probabilities_follow_the_mesh_where_nothing_speaks_against_it(scene):
    subject, vertices, labels = scene
    parsing = parse(subject, vertices, labels, TinyBody(), ReferenceRenderer())
    assert torch.allclose(parsing.probability.sum(0), torch.ones(parsing.fitted.shape), atol=1e-4)
    on = parsing.fitted >= 0
    assert (parsing.probability.argmax(0) == parsing.fitted)[on].float().mean() > 0.85
    assert (parsing.probability.argmax(0) == LABELS.index("other"))[~on].float().mean() > 0.9


def test_a_thing_in_a_hand_is_neither_hand_nor_clothes(scene):
    subject, vertices, labels = scene
    body = TinyBody()
    wrist = subject.camera.project(vertices[body._owner == 4].mean(0)[None])[0]
    image, alpha = subject.matte.foreground.clone(), subject.matte.alpha.clone()
    y, x = np.mgrid[:192, :192]
    ball = torch.from_numpy((x - float(wrist[0]) - 6) ** 2 + (y - float(wrist[1])) ** 2 < 64)
    image[ball], alpha[ball] = THING, 1.0
    parsing = parse(_with(subject, image, alpha), vertices, labels, body, ReferenceRenderer())
    assert _share(parsing, ball, "held") > 0.6
    far = torch.zeros_like(ball)
    far[:, : int(wrist[0]) - 40] = True
    assert _share(parsing, far, "held") < 0.02


@pytest.mark.parametrize(("rows", "held"), [((30, 0), True), ((200, 0), False), ((30, 30), False)])
def test_a_sheet_before_the_trunk_is_held_and_a_shirt_or_a_second_patch_is_worn(rows, held):
    person, hand = torch.zeros(120, 100, dtype=torch.bool), torch.zeros(120, 100, dtype=torch.bool)
    person[:, 20:80], hand[80:90, 40:60] = True, True
    fitted = torch.where(person, LABELS.index("trunk"), -1)
    fitted[:10, 20:80] = LABELS.index("neck")
    lab = 40.0 + torch.randn(120, 100, 3, generator=torch.Generator().manual_seed(0))
    lab[max(0, 80 - rows[0]) : 80, 35:65] = torch.tensor([95.0, 0.0, 0.0])
    lab[115 - rows[1] : 115, 66:76] = torch.tensor([95.0, 0.0, 0.0])
    found = _thing(lab, fitted, hand, person.float(), 0.004)
    assert bool(found.any()) == held
    if held:
        assert found[52:78, 37:63].float().mean() > 0.95 and not found[:45].any() and not found[:, :30].any()


@pytest.mark.parametrize(
    ("shades", "place", "radius", "held"),
    [
        ([(60.0, 45.0, 50.0), (35.0, 25.0, 25.0)], (80, 32), 14, True),  # lit from the left
        ([(85.0, 20.0, 75.0), (20.0, 35.0, 15.0)], (80, 32), 14, True),  # each half could be a thing
        ([(95.0, 1.0, 2.0), (90.0, 1.0, 2.0)], (80, 32), 14, True),  # white
        ([(70.0, 15.0, 15.0), (45.0, 12.0, 12.0)], (80, 32), 14, False),  # of the skin's hue: a bare elbow
        ([(60.0, 45.0, 50.0), (35.0, 25.0, 25.0)], (80, 32), 5, False),  # a button
        ([(60.0, 45.0, 50.0), (60.0, 45.0, 50.0)], (80, 27), 0, False),  # the sleeve of a jersey in two colors
        ([(60.0, 45.0, 50.0), (60.0, 45.0, 50.0)], (14, 57), 18, False),  # a beard or a shawl
    ],
)
def test_a_ball_before_an_arm_is_held_even_where_no_hand_touches_it(shades, place, radius, held):
    """It hides the trunk, an arm, and what is beside them."""
    person, fitted = torch.zeros(140, 100, dtype=torch.bool), torch.full((140, 100), -1)
    fitted[5:130, 35:80], fitted[35:125, 20:35] = LABELS.index("trunk"), LABELS.index("right_forearm")
    fitted[:5, 45:70] = LABELS.index("neck")
    y, x = np.mgrid[:140, :100]
    fitted[torch.from_numpy((y - 14) ** 2 + (x - 57) ** 2 < 100)] = LABELS.index("face")
    lab = torch.tensor([30.0, 2.0, -25.0]) + torch.randn(140, 100, 3, generator=torch.Generator().manual_seed(0))
    lab[fitted == LABELS.index("face")] += torch.tensor([40.0, 13.0, 40.0])
    ball = torch.from_numpy((y - place[0]) ** 2 + (x - place[1]) ** 2 < radius**2) & (fitted != LABELS.index("face"))
    ball |= (fitted == LABELS.index("right_forearm")) & (radius == 0)
    for half, shade in zip((x < 34, x >= 34), shades, strict=True):
        lab[ball & torch.from_numpy(half)] += torch.tensor(shade) - torch.tensor([30.0, 2.0, -25.0])
    person = (fitted >= 0) | ball
    hand = torch.zeros_like(person)
    hand[115:125, 20:35] = True
    found = _thing(lab, fitted, hand, person.float(), 0.004)
    assert bool(found.any()) == held
    if held:
        assert (found & ball).sum() > 0.95 * (found | ball).sum()


def test_a_hand_that_was_found_elsewhere_is_a_hand_there(scene):
    subject, vertices, labels = scene
    body = TinyBody()
    chest = subject.camera.project(vertices[body._owner == 1].mean(0)[None])[0].numpy()
    hand = chest + np.random.default_rng(0).uniform(-5, 5, (21, 2)).astype(np.float32)
    image = subject.matte.foreground.clone()
    x, y = chest.astype(int)
    image[y - 6 : y + 7, x - 6 : x + 7] = SKIN
    keypoints = Keypoints(192, 192, {"hand21_left": hand}, {})
    seen = replace(_with(subject, image), keypoints=keypoints)
    parsing = parse(seen, vertices, labels, body, ReferenceRenderer())
    spot = torch.zeros(192, 192, dtype=torch.bool)
    spot[y - 4 : y + 5, x - 4 : x + 5] = True
    assert _share(parsing, spot, "left_hand") > 0.6
    front = torch.nonzero((body._owner == 1)[body.faces].all(1))[:, 0]
    weights = torch.full((len(front), 3), 1 / 3)
    before, after = (PhotoPainter(s, body, ReferenceRenderer()).paint(front, weights) for s in (subject, seen))
    assert after.shown.sum() < before.shown.sum() and after.seen.sum() < before.seen.sum()
    assert ((after.rgb - CLOTH).norm(dim=1) < 0.15).float().mean() > 0.95  # and the chest is not skin


def test_hands_are_where_their_joints_are():
    points = np.stack([np.linspace(40, 60, 21), np.full(21, 50.0)], 1).astype(np.float32)
    found = seen_hands(Keypoints(100, 100, {"hand21_left": points}, {}), 100, 100)
    assert list(found) == ["left"]
    assert found["left"][50, 50] and not found["left"][80, 50]
    assert not seen_hands(Keypoints(100, 100, {}, {}), 10, 10) and not seen_hands(None, 10, 10)


def test_a_wall_in_the_color_of_skin_is_not_bare_skin(scene):
    subject, vertices, labels = scene
    x, y = subject.camera.project(vertices[TinyBody()._owner == 2].mean(0)[None])[0].tolist()
    face = np.tile(np.array([[x, y]], dtype=np.float32), (478, 1))
    image = torch.where(subject.matte.alpha[..., None] > 0.5, subject.photo.image, SKIN)
    seen = replace(subject, photo=replace(subject.photo, image=image), keypoints=Keypoints(192, 192, {"face478": face}, {}))
    parsing = parse(seen, vertices, labels, TinyBody(), ReferenceRenderer())
    skin = torch.nn.functional.interpolate(parsing.skin[None, None], (192, 192))[0, 0]
    assert skin[int(y), int(x)] > 0.9
    assert not skin[ndimage.distance_transform_edt(subject.matte.alpha < 0.5) > 4].any()


def test_a_color_mixture_is_a_sum_of_normal_densities_where_it_is_asked():
    draw = np.random.default_rng(0)
    colors, where = draw.normal(size=(500, 3)) * [20.0, 9.0, 4.0] + [50.0, 0.0, 10.0], draw.random(500) > 0.5
    mixture = ColorMixture.of([colors], [np.ones(500, dtype=bool)], True)
    parts = zip(mixture.share, mixture.mean, mixture.covariance, strict=True)
    density = sum(share * stats.multivariate_normal(mean, covariance).pdf(colors) for share, mean, covariance in parts)
    np.testing.assert_allclose(mixture(colors, where), np.where(where, np.log(density * 1e6 + 1e-12), 0.0), rtol=1e-9)


def test_it_is_deterministic(scene):
    subject, vertices, labels = scene
    first, again = (parse(subject, vertices, labels, TinyBody(), ReferenceRenderer()).probability for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("most", [2.0, 5.5, math.inf])
@pytest.mark.parametrize("box", [(slice(20, 30), slice(5, 40)), (slice(0, 60), slice(0, 50)), (slice(7, 8), slice(49, 50))])
@pytest.mark.parametrize("holes", [False, True])
def test_distances_are_those_of_the_whole_picture_as_far_as_they_are_asked(box, most, holes):
    area = torch.zeros(60, 50, dtype=torch.bool)
    area[box] = torch.rand(area[box].shape, generator=torch.Generator().manual_seed(0)) > 0.7
    area[box][0, 0] = True
    area = ~area if holes else area
    found, true = pixels_to(area, most), torch.from_numpy(ndimage.distance_transform_edt(~area.numpy())).float()
    near = true <= most
    assert near.any() and torch.equal(found[near], true[near]) and (found[~near] > most).all()


def test_there_is_no_distance_to_nothing_and_none_within():
    nothing = torch.zeros(4, 5, dtype=torch.bool)
    assert (pixels_to(nothing) > 1000).all() and (pixels_to(~nothing) == 0).all()
