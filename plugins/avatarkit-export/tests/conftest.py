"""A tiny avatar that all tests of this plugin export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarkit.errors import InputError
from avatarkit.interfaces import AvatarModel, Context, Subject
from avatarkit.registry import Registry
from avatarkit.testing import tiny_context, tiny_motion, tiny_subject
from avatarkit.types.body import BodyParams, Motion


class TinyMotions:
    """A motion source with one motion."""

    def names(self) -> tuple[str, ...]:
        return ("talk-1",)

    def motion(self, name: str) -> Motion:
        if name != "talk-1":
            raise InputError(f"There is no built-in motion {name!r}.")
        return tiny_motion()


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="session")
def context(registry: Registry) -> Context:
    renderer = registry.get("renderer", "cpu").create({}, Context())
    return tiny_context(renderer=renderer, motions=TinyMotions())


@pytest.fixture(scope="session")
def subject(context: Context) -> Subject:
    """With a hat, which the mesh does not cover."""
    subject = tiny_subject(context, size=128)
    alpha, image = subject.matte.alpha.clone(), subject.matte.foreground.clone()
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    top, middle = int(rows.min()), int(columns.float().mean())
    alpha[top - 4 : top, middle - 3 : middle + 4] = 1.0
    image[top - 4 : top, middle - 3 : middle + 4] = image[top + 1, middle]
    return replace(subject, matte=replace(subject.matte, alpha=alpha, foreground=image))


@pytest.fixture(scope="session")
def avatar(registry: Registry, context: Context, subject: Subject) -> AvatarModel:
    made = registry.get("avatar", "coupled-gs").create({"resolution": 96}, context)
    made.create(subject, [])
    return made


@pytest.fixture(scope="session")
def rich(registry: Registry, context: Context, subject: Subject) -> AvatarModel:
    """Ellipsoids whose colors depend on the direction of view."""
    made = registry.get("avatar", "coupled-gs").create({"resolution": 96, "anisotropic": True, "sh_degree": 3}, context)
    made.create(subject, [])
    generator = torch.Generator().manual_seed(0)
    state = made.state()
    state["log_aspect"] += 0.5 * torch.randn(state["log_aspect"].shape, generator=generator)
    state["rotation"] += 0.5 * torch.randn(state["rotation"].shape, generator=generator)
    state["sh"] = (0.3 * torch.randn(state["sh"].shape, generator=generator)).clamp(-0.7, 0.7)  # SPZ ends at 1
    made.load(state)
    return made


@pytest.fixture(scope="session")
def params(subject: Subject) -> BodyParams:
    return replace(tiny_motion().params[3], translation=subject.params.translation)


HOSTILE = (
    "</title></script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>\"'--><!--\u2028\u202e@DATA@ "
    "<svg onload=window.owned=1>\x1b[31m\x00\r\nconsent: yes"
)


@pytest.fixture(scope="session")
def hostile() -> str:
    """A name that wants to become elements and scripts."""
    return HOSTILE


@pytest.fixture
def hostile_page(registry: Registry, context: Context, subject: Subject, avatar: AvatarModel, tmp_path: Path) -> str:
    """A page whose avatar, consent and motion have that name."""

    class Named:
        def names(self) -> tuple[str, ...]:
            return ("talk-1",)

        def motion(self, name: str) -> Motion:
            return replace(tiny_motion(), name=HOSTILE)

    named = replace(context, get=lambda slot, name=None: Named() if slot == "motions" else context.get(slot, name))
    path = tmp_path / "hostile.html"
    exporter = registry.get("exporter", "web").create({}, named)
    exporter.write(avatar, subject.params, path, consent=HOSTILE + "\udc80", name=HOSTILE + "\udc80", camera=subject.camera)
    return path.read_text(encoding="utf-8")
