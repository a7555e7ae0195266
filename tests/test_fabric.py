"""The pattern of clothes goes on where the photo does not show them."""

from __future__ import annotations

import torch
from torch.nn import functional

from avatarkit.appearance.fabric import Fabric

METER = 0.002


def _weave(size: int, contrast: float = 0.02) -> torch.Tensor:
    noise = torch.rand(1, 3, size + 2, size + 2, generator=torch.Generator().manual_seed(0))
    return (0.5 + 3 * contrast * (2 * functional.avg_pool2d(noise, 3, 1)[0].permute(1, 2, 0) - 1)).clamp(0, 1)


def _find(image: torch.Tensor) -> Fabric | None:
    return Fabric.find(image, torch.ones(image.shape[:2], dtype=torch.bool), torch.ones(image.shape[:2]), METER)


def _places(count: int = 20_000) -> torch.Tensor:
    return 2.0 * torch.rand(count, 2, generator=torch.Generator().manual_seed(1)) - 1.0


def test_the_pattern_keeps_its_contrast_and_changes_no_color():
    image = _weave(120)
    fabric = _find(image)
    made = fabric(_places())
    assert made.mean(0).abs().max() < 2e-3
    assert 0.7 < float(made.std() / fabric.example.std()) < 1.1  # a little is lost between pixels


def test_pieces_do_not_repeat():
    fabric = _find(_weave(120))
    at = _places()
    assert (fabric(at) - fabric(at + torch.tensor([fabric.side / 3, 0.0]))).abs().mean() > 0.5 * fabric(at).abs().mean()
    assert torch.equal(fabric(at), fabric(at))


def test_there_is_no_seam():
    fabric = _find(_weave(120))
    fine = torch.stack([torch.linspace(0, 0.2, 20_001), torch.full((20_001,), 0.013)], 1)
    assert fabric(fine).diff(dim=0).abs().max() < 0.02  # a hundredth of a millimeter apart


def test_a_badge_is_no_example():
    image = _weave(160)
    image[60:75, 60:75] = 1.0
    image[62:70, 62:70] = 0.0
    assert _find(image).example.abs().max() < 0.05


def test_light_that_changes_slowly_is_left_out():
    image = _weave(160) + torch.linspace(-0.3, 0.3, 160)[:, None, None]
    assert _find(image).example.std() < 1.5 * _find(_weave(160)).example.std()


def test_a_bold_print_is_softened():
    assert float(_find(_weave(160, contrast=0.5)).example.std()) < 0.035


def test_what_is_small_or_turned_away_gives_no_example():
    image, whole = _weave(40), torch.ones(40, 40, dtype=torch.bool)
    assert Fabric.find(image[:20, :20], whole[:20, :20], torch.ones(20, 20), METER) is None
    assert Fabric.find(image, whole, torch.full((40, 40), 0.3), METER) is None
