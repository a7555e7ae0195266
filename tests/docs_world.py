"""The world in which the commands of the documentation are run: small stand-ins under the names of all real components.

The program, its recipes, options and files are the real ones; only what fills the slots is the tiny method of
``avatarkit.testing``, without needs, so that a command takes a second and not minutes or a GPU.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.hookspecs import hookimpl
from avatarkit.registry import KINDS, Registry
from avatarkit.testing import method
from avatarkit.testing.tiny import ReferenceRenderer, TinyBody
from avatarkit.types.body import Motion

NAMES = ("idle", "talk", "wave", "nod")
INSTALLED = Registry.load(environ={})
MINE = {kind: f"my-{kind}" for kind in KINDS}
"""What readers of the pages of the kinds made with ``plugins new``."""


class Body(TinyBody): ...


class Renderer(ReferenceRenderer): ...


class Tracker(method.TinyTracker):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyTrackerConfig(), context)


class Labeler(method.TinyLabeler):
    def __init__(self, config: Any, context: Any) -> None:
        region = getattr(config, "region", "body")
        super().__init__(method.TinyLabelerConfig(region if region in ("body", "head") else "head"), context)


class Avatar(method.TinyAvatar):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyAvatarConfig(), context)


class Motions(method.TinyMotions):
    def names(self) -> tuple[str, ...]:
        return NAMES

    def motion(self, name: str) -> Motion:
        if name not in NAMES:
            raise InputError(f"There is no motion {name!r}.")
        return replace(super().motion("tiny"), name=name)

    def motions(self, count: int, seed: int) -> list[Motion]:
        return [replace(self.motion("talk"), name=f"talk-{number}") for number in range(count)]


class Speaker(method.TinySpeaker):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(None, context)


class Synthesizer(method.TinySynthesizer):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(None, context)

    def voices(self) -> dict[str, str]:
        return {"en-us+f2": "en-us", "en-us+klatt4": "en-us", "de+f2": "de"}


class Exporter(method.TinyExporter):
    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(method.TinyExporterConfig(), context)


TARGETS = {
    "matting": "avatarkit.testing.method:TinyMatting",
    "keypoints": "avatarkit.testing.method:TinyDetector",
    "loss": "avatarkit.testing.method:TinyRgb",
    "speech": "docs_world:Speaker",
    "synthesizer": "docs_world:Synthesizer",
    **{
        kind: f"docs_world:{cls}"
        for kind, cls in {
            "body": "Body", "renderer": "Renderer", "tracker": "Tracker", "labels": "Labeler", "avatar": "Avatar",
            "motions": "Motions", "exporter": "Exporter",
        }.items()
    },
}  # fmt: skip


def stand_ins(kind: str) -> Any:
    """A hook that registers a stand-in for each installed component of the kind, with its real options."""
    real = INSTALLED.components(kind)

    @hookimpl
    def hook(register: Any) -> None:
        for name, component in real.items():
            draws = {"features": component.features} if kind == "renderer" else {}
            register(name, target=TARGETS[kind], config=component.config, summary=component.summary, **draws)
            if component.needs.weights:  # known to ``avatarkit weights``, and needed by nobody
                register(f"owner-of-weights-{name}", target=TARGETS[kind], needs=component.needs)
        register(MINE[kind], target=TARGETS[kind], summary="one of the reader's own")

    return hook


for _kind, _hook in KINDS.items():
    globals()[_hook] = stand_ins(_kind)


_section = Recipe.section


def small_section(self: Recipe, name: str, cls: Any) -> Any:
    """``Recipe.section`` with few steps, clips and frames; everything is checked as it is."""
    config = _section(self, name, cls)
    small: dict[str, dict[str, Any]] = {
        "training": {"steps": 1, "resolution": 32},
        "labels": {key: min(1, getattr(config, key, 1)) for key in ("body_clips", "head_clips")},
        "preview": {"height": 16, "seconds": 0.2, "fps": 5},
    }
    return replace(config, **small.get(name, {}))


def commands(page: Path) -> list[str]:
    """The command lines that a page shows, in order, without comments."""
    lines = re.findall(r"^(?:.*&& | +)?(avatarkit \w.*)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"\s{2,}#.*", "", line).strip() for line in lines]
