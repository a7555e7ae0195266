"""Each check of ``avatarkit.testing.conformance`` fails for a component that breaks its promise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
import torch

from avatarkit import hookimpl
from avatarkit.config.options import Range
from avatarkit.registry import KINDS, ComponentSpec
from avatarkit.testing import check_component, method
from avatarkit.testing.method import memory_registry
from avatarkit.testing.tiny import ReferenceRenderer, TinyBody


def spec(kind: str, name: str, config: str | None = None) -> ComponentSpec:
    """The component of this module."""

    def hook(register: Any) -> None:
        target = f"{__name__}:{name}"
        register("broken", target=target, config=f"{__name__}:{config}" if config else None, summary="broken on purpose")

    made = ModuleType("broken")
    setattr(made, KINDS[kind], hookimpl(hook))
    return memory_registry(made).get(kind, "broken")


def failures(kind: str, name: str, config: str | None = None) -> dict[str, str]:
    return {f.check: f.detail for f in check_component(spec(kind, name, config)) if f.state == "failed"}


# -------------------------------------------------------------------------------------------------- inputs left alone


class PaintingLoss(method.TinyRgb):
    def __call__(self, step: Any) -> torch.Tensor:
        value = super().__call__(step)
        step.target[:2] = 0.5
        return value


class PaintingMatting(method.TinyMatting):
    def matte(self, photo: Any, keypoints: Any = None) -> Any:
        found = super().matte(photo, keypoints)
        photo.image[:2] = 0.5
        return found


class MovingAvatar(method.TinyAvatar):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)

    def pose(self, params: Any) -> Any:
        posed = super().pose(params)
        params.translation.data += 0.01
        return posed


class PushyLabeler(method.TinyLabeler):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyLabelerConfig(), context)

    def generate(self, subject: Any, motion: Any, seed: int) -> Any:
        clip = super().generate(subject, motion, seed)
        motion.params.joints[:] += 0.01
        return clip


class TurningBody(TinyBody):
    def vertices(self, params: Any, offsets: Any = None) -> torch.Tensor:
        found = super().vertices(params, offsets)
        if not params.root.requires_grad:
            params.root.add_(0.0001)
        return found


class _Smearing:
    def render(self, gaussians: Any, camera: Any, background: torch.Tensor) -> Any:
        drawn = ReferenceRenderer().gaussians.render(gaussians, camera, background)
        gaussians.colors.data.mul_(0.5)
        return drawn


class SmearingRenderer(ReferenceRenderer):
    def __init__(self, config: Any = None, context: Any = None) -> None:
        super().__init__()
        self.gaussians = _Smearing()


class MovingExporter(method.TinyExporter):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyExporterConfig(), context)

    def write(self, avatar: Any, params: Any, path: Path, **options: Any) -> None:
        super().write(avatar, params, path, **options)
        for group in avatar.parameter_groups():
            for tensor in group.tensors:
                tensor.data.add_(0.1)


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        ("loss", "PaintingLoss", "step.target, which was handed over, was changed"),
        ("matting", "PaintingMatting", "the subject that was handed over was changed"),
        ("avatar", "MovingAvatar", "the subject that was handed over was changed"),
        ("labels", "PushyLabeler", "the motion that was handed over was changed"),
        ("body", "TurningBody", "the parameters that were handed over were changed"),
        ("renderer", "SmearingRenderer", "the Gaussians or the background that were handed over were changed"),
        ("exporter", "MovingExporter", "the avatar that was handed over was changed"),
    ],
)
def test_changing_an_input_fails(kind: str, name: str, what: str) -> None:
    assert what in failures(kind, name).values()


# ---------------------------------------------------------------------------------------------------------------- options


@dataclass(frozen=True)
class Fine:
    number: Annotated[int | None, Range(0, 3)] = None
    """A number."""
    names: tuple[str, ...] = ()
    """Names."""
    table: dict[str, float] = field(default_factory=dict)
    """A table."""
    mode: Literal["a", "b"] = "a"
    """A choice."""
    path: Path | None = None
    """A path."""


@dataclass(frozen=True)
class Unsettable:
    weights: torch.Tensor | None = None
    """A tensor."""


@dataclass(frozen=True)
class UnsettableList:
    names: list[complex] = field(default_factory=list)
    """Numbers."""


class Plain(method.TinyRgb): ...


@pytest.mark.parametrize(("config", "option"), [("Unsettable", "weights"), ("UnsettableList", "names")])
def test_options_that_no_recipe_can_set_fail(config: str, option: str) -> None:
    found = failures("loss", "Plain", config)
    assert list(found) == ["options can be set in a recipe"]
    assert found["options can be set in a recipe"].startswith(f"no recipe can set the option {option!r}: its type is ")
    assert failures("loss", "Plain", "Fine") == {}


@dataclass(frozen=True)
class Untyped:
    scale: float = 1.0
    """A number."""
    limit = 0.9
    """Not an option, because a dataclass ignores it."""


@dataclass(frozen=True)
class Derived(Fine):
    LARGEST = 3
    features = ("sh",)

    @property
    def half(self) -> float:
        return 0.5

    def fingerprint(self) -> str:
        return ""


def test_an_option_without_type_fails() -> None:
    assert failures("loss", "Plain", "Untyped") == {"options are documented": "the option 'limit' has no type annotation"}
    assert failures("loss", "Plain", "Derived") == {}


# ------------------------------------------------------------------------------------------------- devices, signatures


class ElsewhereMatting(method.TinyMatting):
    def matte(self, photo: Any, keypoints: Any = None) -> Any:
        found = super().matte(photo, keypoints)
        return replace(found, alpha=found.alpha.to("meta"))


class ElsewhereLoss(method.TinyRgb):
    def __call__(self, step: Any) -> torch.Tensor:
        return super().__call__(step).to("meta")


class ElsewhereAvatar(method.TinyAvatar):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)

    def pose(self, params: Any) -> Any:
        posed = super().pose(params)
        return replace(posed, gaussians=replace(posed.gaussians, colors=posed.gaussians.colors.to("meta")))


@pytest.mark.parametrize(
    ("kind", "name"), [("matting", "ElsewhereMatting"), ("loss", "ElsewhereLoss"), ("avatar", "ElsewhereAvatar")]
)
def test_results_on_another_device_fail(kind: str, name: str) -> None:
    assert any("holds a tensor on meta; its inputs and the context are on cpu" in text for text in failures(kind, name).values())


class NarrowExporter(method.TinyExporter):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyExporterConfig(), context)

    def write(  # type: ignore[override]
        self, avatar: Any, params: Any, path: Path, consent: Any = None, name: Any = None, camera: Any = None,
        center: Any = None, box: Any = None,
    ) -> None:  # fmt: skip
        super().write(avatar, params, path, consent=consent)


def test_an_exporter_without_options_fails() -> None:
    found = failures("exporter", "NarrowExporter")
    assert list(found) == ["implements the interface"]
    assert "Exporter.write takes **options, this one does not" in found["implements the interface"]


class NoStepLoss(method.TinyRgb):
    def __call__(self) -> torch.Tensor:  # type: ignore[override]
        return torch.zeros(())


class ModuleLoss(torch.nn.Module):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__()

    def forward(self, step: Any) -> torch.Tensor:
        value: torch.Tensor = (step.rendering.rgb - step.target).abs().mean()
        return value


def test_a_loss_without_step_fails() -> None:
    found = failures("loss", "NoStepLoss")["implements the interface"]
    assert found == "Loss.__call__ takes (step), this one does not: too many positional arguments"
    assert failures("loss", "ModuleLoss") == {}


class Raising:
    def __init__(self, config: Any, context: Any) -> None:
        raise RuntimeError("no wheel turns")


class Frozen:
    def __init__(self) -> None: ...


NO_CLASS = 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raising", "RuntimeError: no wheel turns"),
        ("Frozen", "TypeError: Frozen.__init__() takes 1 positional argument but 3 were given"),
        ("NO_CLASS", "test_conformance:NO_CLASS is not a class"),
        ("Absent", "cannot be imported: AttributeError"),
    ],
)
def test_what_cannot_be_created_fails_once(name: str, said: str) -> None:
    findings = check_component(spec("loss", name))
    (failed,) = [f for f in findings if f.state == "failed"]
    assert failed.check == "implements the interface"
    assert said in failed.detail
    after = findings[findings.index(failed) + 1 :]
    assert {f.state for f in after} == {"skipped"}
    assert {f.detail for f in after} == {"needs a component that can be created: see the first check that failed"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tiny_components_pass(kind: str) -> None:
    registry = memory_registry()
    assert [f for f in check_component(registry.get(kind, "tiny")) if f.state == "failed"] == []
