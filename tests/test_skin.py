"""Bare skin in photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarkit.appearance import color_priors
from avatarkit.appearance.color_priors import _clothes_by_joint, _hand_color, _in_light, expected_colors, luminance
from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.skin import _hem_plane, bare_surface, gray_skin, hem, skin_likeness
from avatarkit.geometry.mesh_graph import surface_regions
from avatarkit.testing import ReferenceRenderer, TinyBody, tiny_subject
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit.types.subject import Matte

SKIN = torch.tensor([0.80, 0.60, 0.50])
CLOTH = torch.tensor([0.45, 0.47, 0.52])


def _face_at(x: float, y: float, size: int) -> Keypoints:
    points = np.tile(np.array([[x, y]], np.float32), (478, 1))
    return Keypoints(size, size, {"face478": points}, {"face478": np.ones(478, np.float32)})


@pytest.mark.parametrize(
    ("color", "bare"),
    [
        (SKIN, True),
        (0.55 * SKIN, True),  # in the shade
        (torch.tensor([0.50, 0.32, 0.24]), True),  # lit by skin
        (torch.tensor([0.95, 0.90, 0.88]), False),  # a white shirt in warm light
        (CLOTH, False),
        (torch.tensor([0.90, 0.35, 0.15]), False),  # orange
        (torch.tensor([0.06, 0.045, 0.04]), False),  # nearly black
    ],
)
def test_skin_is_told_by_its_hue(color, bare):
    image = color.expand(40, 40, 3).clone()
    image[:10], image[10:18] = SKIN, torch.rand(8, 40, 3, generator=torch.Generator().manual_seed(0))
    likeness = skin_likeness(image, _face_at(5, 5, 40))
    assert (likeness[20:] > 0.5).all() == bare
    assert (likeness[2:8] > 0.9).all()


def test_nobody_knows_skin_without_a_face():
    assert skin_likeness(torch.rand(8, 8, 3), None) is None
    assert skin_likeness(torch.rand(8, 8, 3), _face_at(100, 100, 8)) is None


def test_a_hem_lies_where_fewest_pixels_disagree():
    along = torch.linspace(0, 1, 1000)
    bare = (along > 0.6).float()
    bare[::7] = 1 - bare[::7]
    assert hem(along, bare, torch.ones(1000), 200.0) == pytest.approx(0.6, abs=0.02)
    seen = (along < 0.5).float()
    assert hem(along, torch.zeros(1000), seen, 200.0) == 1.0  # the unseen rest wears the same
    assert hem(along, torch.ones(1000), seen, 200.0) == -torch.inf
    assert hem(along, bare, torch.zeros(1000), 200.0) is None
    unsure = ((along < 0.3) | (along > 0.7)).float()
    assert hem(along, (along > 0.6).float(), unsure, 200.0) == pytest.approx(0.34, abs=0.01)  # nearer to the last cloth


def test_a_hem_is_that_of_both_arms_unless_the_photo_tells_otherwise():
    along = torch.linspace(0, 1, 1000)
    seen = torch.ones(1000)
    unclear = torch.where((along > 0.4) & (along < 0.6), 0.49, (along > 0.5).float())  # a little more like cloth
    assert hem(along, unclear, seen, 200.0) == pytest.approx(0.6, abs=0.01)
    assert hem(along, unclear, seen, 200.0, usual=0.4) == pytest.approx(0.4, abs=0.01)
    assert hem(along, (along > 0.6).float(), seen, 200.0, usual=0.4) == pytest.approx(0.6, abs=0.01)
    hidden = ((along < 0.3) | (along > 0.7)).float()
    assert hem(along, (along > 0.5).float(), hidden, 200.0, usual=0.45) == pytest.approx(0.45, abs=0.01)


def test_a_hem_slopes_where_the_photo_shows_an_armhole():
    place = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    for slope in ((0.0, 0.0), (0.5, 0.0), (0.0, -1.0)):
        over = place @ torch.tensor([1.0, *slope])
        bare = (over > over.median()).float()
        bare[::9] = 1 - bare[::9]  # a fit that is a little off
        beyond, slopes = _hem_plane(place, bare, torch.ones(4000), 0.1, None)
        assert slopes == any(slope)
        assert ((beyond > 0) == (over > over.median())).float().mean() > 0.97
    assert _hem_plane(place, bare, torch.zeros(4000), 0.1, None) is None


def test_skin_in_light_tells_how_bright_limbs_are_but_not_their_hue():
    tone, dark = 0.8 * SKIN, 0.5 * SKIN
    mixed = torch.cat([dark.expand(60, 3), 0.84 * SKIN.expand(40, 3)])
    assert torch.allclose(_in_light(mixed, torch.ones(100), tone), 0.84 * SKIN, atol=1e-3)
    assert torch.allclose(_in_light(mixed.roll(1, 0)[:30], torch.ones(30), tone), tone)  # too few
    assert torch.allclose(_in_light(SKIN.expand(100, 3), torch.ones(100), tone), 1.1 * tone)


def test_a_black_and_white_photo_tells_no_skin():
    image = torch.full((60, 60, 3), 0.6)
    assert skin_likeness(image, _face_at(30, 30, 60)) is None
    scene = torch.rand(60, 60, 3, generator=torch.Generator().manual_seed(0))
    scene[20:40, 20:40] = SKIN
    assert skin_likeness(scene, _face_at(30, 30, 60)) is not None
    gray = luminance(scene)[..., None]
    for tone in ([1.05, 1.0, 0.95], [1.35, 1.2, 0.94], [0.7, 0.9, 1.2]):  # a little brown, sepia, blue
        toned = 0.08 * torch.tensor(tone).flip(0) + 0.7 * gray * torch.tensor(tone)  # shade has another tone than light
        assert skin_likeness(toned, _face_at(30, 30, 60)) is None


def test_blue_light_tells_no_skin():
    scene = torch.rand(60, 60, 3, generator=torch.Generator().manual_seed(0))
    scene[20:40, 20:40] = torch.tensor([0.50, 0.53, 0.56])
    assert skin_likeness(scene, _face_at(30, 30, 60)) is None


def test_in_black_and_white_skin_is_as_bright_as_the_face():
    image = torch.full((60, 60, 3), 0.6)
    image[:, :10] = 0.2
    like = gray_skin(image, _face_at(30, 30, 60))
    assert like[:, 15:45].all() and not like[:, :8].any()
    assert gray_skin(image, None) is None


def test_hands_have_the_color_of_their_skin():
    shown = torch.cat([CLOTH.expand(200, 3), (0.9 * SKIN).expand(50, 3)])  # fitted a little off, most of it shows a sleeve
    assert torch.allclose(_hand_color(shown, torch.ones(250), SKIN, CLOTH, gloved=False, found=True), 0.95 * SKIN, atol=0.02)
    glove = _hand_color(shown[:200], torch.ones(200), SKIN, CLOTH, gloved=True, found=True)
    assert torch.allclose(glove, CLOTH, atol=0.01)
    unseen = _hand_color(shown, torch.zeros(250), SKIN, CLOTH, gloved=False, found=True)
    assert torch.allclose(unseen / unseen.sum(), SKIN / SKIN.sum(), atol=0.01)


def test_skin_in_shade_is_brightened_to_the_hue_of_skin_in_light():
    shade = SKIN * torch.tensor([0.75, 0.6, 0.5])  # it is more vivid, and would turn orange
    found = _hand_color(shade.expand(500, 3), torch.ones(500), SKIN, CLOTH, gloved=False, found=True)
    assert 0.9 < float(luminance(found) / luminance(SKIN)) < 1.0
    assert float(found[0] / found[2]) < 1.2 * float(SKIN[0] / SKIN[2])


def test_hands_keep_their_color_beside_a_face_in_shade():
    seen, shade = SKIN.expand(80, 3), 0.45 * SKIN
    assert torch.allclose(_hand_color(seen, torch.ones(80), shade, CLOTH, gloved=False, found=True), SKIN, atol=0.02)
    brown = torch.tensor([0.62, 0.48, 0.40])  # a sleeve of skin's hue, on which the hand was fitted
    on_sleeve = _hand_color(brown.expand(80, 3), torch.ones(80), 0.5 * brown, brown, gloved=False, found=True)
    assert torch.allclose(on_sleeve, 0.5 * brown, atol=0.02)
    guessed = _hand_color(seen, torch.ones(80), shade, CLOTH, gloved=False, found=False)
    assert torch.allclose(guessed, shade, atol=0.02)  # a hand that no detector found tells nothing


class TestSleeves:
    """A person of one color with bare forearms, of which the photo shows the front."""

    @pytest.fixture
    def subject(self):
        subject, body, renderer = tiny_subject(size=160), TinyBody(), ReferenceRenderer()
        vertices = body.vertices(subject.params)[0]
        drawn = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
        naked = torch.isin(body._owner, torch.tensor([2, 4, 6]))[body.faces[drawn.face_index.clamp(min=0), 0]]
        image = torch.where(naked[..., None], SKIN, CLOTH)
        head = subject.camera.project(vertices[body._owner == 2].mean(0)[None])[0]
        keypoints = _face_at(float(head[0]), float(head[1]), 160)
        return replace(subject, matte=Matte(subject.matte.alpha, image), keypoints=keypoints)

    def test_sleeves_end_all_around_the_arm(self, subject):
        body, renderer = TinyBody(), ReferenceRenderer()
        vertices = body.vertices(subject.params)[0]
        likeness = skin_likeness(subject.matte.foreground, subject.keypoints)
        bare = bare_surface(body, vertices, subject.camera, subject.matte.alpha, likeness, renderer.meshes)
        for owner, expected in ((1, 0.0), (3, 0.0), (4, 1.0), (7, 0.0)):  # trunk, upper arm, forearm, thigh
            of_it = body._owner == owner
            assert ((bare > 0.5).float()[of_it] == expected).float().mean() > 0.9, owner

    def test_colors_do_not_mix_across_them(self, subject):
        body = TinyBody()
        painter = PhotoPainter(subject, body, ReferenceRenderer())
        behind = torch.nonzero((body._owner == 3)[body.faces].all(1))[:, 0]
        paint = painter.paint(behind, torch.full((len(behind), 3), 1 / 3))
        assert ((paint.rgb - CLOTH).norm(dim=1) < 0.1).float().mean() > 0.9
        assert not paint.seen.all()


def test_the_back_of_an_open_jacket_is_like_its_sides():
    body, jacket, shirt = TinyBody(), torch.tensor([0.35, 0.35, 0.20]), torch.tensor([0.95, 0.95, 0.95])
    rest = body.rest(torch.zeros(len(body.shape_names)), torch.zeros(1, len(body.expression_names)))[0]
    normals, trunk = vertex_normals(rest, body.faces), body._owner == 1
    color = torch.where((normals[:, 2:] > 0.3) & trunk[:, None], shirt, jacket)
    worn = _clothes_by_joint(body, body._owner != 2, rest, color, (normals[:, 2] > 0.0).float(), SKIN)
    upper = trunk & (rest[:, 1] > rest[body._owner != 2, 1].median())
    assert torch.allclose(worn[upper & (normals[:, 2] < -0.1)], jacket, atol=0.05)
    assert torch.allclose(worn[upper & (normals[:, 2] > 0.1)], shirt, atol=0.05)


def test_hands_that_were_not_seen_continue_bare_arms(monkeypatch):
    body, arms = TinyBody(), torch.tensor([0.95, 0.65, 0.55])
    rest = body.rest(torch.zeros(len(body.shape_names)), torch.zeros(1, len(body.expression_names)))[0]
    region, arm = surface_regions(body, rest), body._owner == 3
    monkeypatch.setattr(color_priors, "limb", lambda *_, **__: arm)  # the tiny body's forearms end in no hands
    color = torch.where((body._owner == 2)[:, None], SKIN, torch.where(arm[:, None], arms, CLOTH))
    seen = (arm | (body._owner == 1) | (body._owner == 2)).float()
    for bare, expected in ((arm, arms), (torch.zeros_like(arm), 0.86 * SKIN)):
        found = expected_colors(body, region, bare, rest, color, seen, 1.0, torch.zeros(0, 3), SKIN, gloved=False, found=True)
        assert torch.allclose(found.hand, expected, atol=0.02)
