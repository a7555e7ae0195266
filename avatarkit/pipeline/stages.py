"""Runs the stages of a build: each is keyed by everything that its result depends on, and reused while its key is the same."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from avatarkit import validation
from avatarkit.components import Components
from avatarkit.errors import AvatarkitError, PluginError, StageError
from avatarkit.interfaces import Posed
from avatarkit.registry.specs import ComponentSpec, error_place, error_text, where
from avatarkit.storage.manifest import convert
from avatarkit.storage.serialization import load_subject
from avatarkit.storage.stage_cache import Stage, Store, read_json, write_json
from avatarkit.types.subject import Subject
from avatarkit.utils.progress import Progress

__all__ = ["RUNS", "STAGES", "StageRunner", "core_revisions", "invalid_result", "keyed_stage", "load_tracked_subject"]

log = logging.getLogger("avatarkit.pipeline.build")

T = TypeVar("T")

STAGES = ("tracking", "motions", "body-labels", "head-labels", "avatar", "preview")
"""Values of ``--from``; this stage and all after it run again."""

RUNS: dict[str, tuple[str, ...]] = {
    "tracking": ("appearance", "geometry", "io", "types"),
    "motions": ("geometry", "io", "motion", "types"),
    "body-labels": ("animation", "appearance", "geometry", "io", "labelling", "types"),
    "head-labels": ("animation", "appearance", "geometry", "io", "labelling", "types"),
    "avatar": ("appearance", "geometry", "io", "training", "types"),
    "preview": ("animation", "geometry", "io", "metrics", "report", "types"),
}
"""Stage -> packages of the core that affect its results, directly or through a component."""


class _Created(msgspec.Struct):
    """Content of ``components.json``: kind and name of components that a stage was the first to create."""

    created: list[tuple[str, str]]


class StageRunner:
    """Runs the stages of one build.

    Args:
        components: components of the recipe.
        store: where results are kept.
        start: stage of ``STAGES`` that runs again, with all after it; None = each that changed.
        progress: receives progress reports.

    Attributes:
        records: stage -> its key, seconds and memory, for the manifest.
    """

    def __init__(self, components: Components, store: Store, start: str | None, progress: Progress) -> None:
        self.components = components
        self.records: dict[str, dict[str, Any]] = {}
        self._store, self._progress = store, progress
        self._again = STAGES[STAGES.index(start) :] if start else ()

    def stage(self, name: str, slots: tuple[str, ...], inputs: dict[str, str], config: dict[str, Any]) -> Stage:
        """Return a stage of this build; see ``keyed_stage``."""
        return keyed_stage(self._store, self.components, name, slots, inputs, config, RUNS[re.sub(r"-\d+$", "", name)])

    def require(self, slot: str, contract: Callable[..., None], *values: Any) -> None:
        """Raise PluginError if the result of a component breaks its interface."""
        try:
            contract(*values)
        except validation.Violation as violation:
            raise invalid_result(self.components.descriptor(slot), violation) from None

    def require_drawn(self, posed: Posed) -> None:
        """Raise PluginError if the avatar is made of what the renderer does not draw, declared or not."""
        avatar, renderer = self.components.descriptor("avatar"), self.components.descriptor("renderer")
        if undrawn := self.components.registry.undrawn(posed.gaussians.features, renderer):
            declare = f"register(...) features={posed.gaussians.features!r}"
            raise PluginError(f"{avatar.owner} of {avatar.maker}: {undrawn}. Its author declares this with {declare}.")

    def run(self, stage: Stage, group: str, slot: str, make: Callable[[Path], None], read: Callable[[Path], T]) -> T:
        """Run the stage unless its results are stored, and read its results.

        An exception from a plugin in ``make`` is wrapped once, with the name of its component. Stored results that cannot be read
        are made again.
        """
        if group in self._again:
            stage.discard()
        reused = stage.ready
        if reused:
            try:
                found = read(stage.folder)
            except Exception as error:  # the cache may be damaged or edited
                reason = str(error).rstrip(".") or type(error).__name__
                log.warning("The stored results of the stage %s cannot be read (%s); the stage runs again.", stage.name, reason)
                stage.discard()
                reused = False
        with self._progress.stage(group):
            if not reused:
                log.info("%s: %s", stage.name, stage.why_changed())
                before = self.components.used
                try:
                    with stage.write() as folder:
                        make(folder)
                        new = [c for c in self.components.used if c not in before]
                        write_json(folder / "components.json", {"created": [[c.kind, c.name] for c in new]})
                except AvatarkitError:
                    raise
                except Exception as error:
                    raise self._failed(stage.name, self.components.culprit(error, slot), error) from error
        if (created := stage.folder / "components.json").is_file():
            for kind, name in convert(read_json(created), _Created).created:
                self.components.note(kind, name)
        record = stage.record
        self.records[stage.name] = {k: record[k] for k in ("key", "seconds", "peak_memory_mb")} | {"reused": reused}
        self.components.registry.stage_finished(stage.name, str(stage.folder), record["seconds"])
        return found if reused else read(stage.folder)

    @staticmethod
    def _failed(stage: str, component: ComponentSpec, error: Exception) -> StageError:
        what = f"{error_text(error)}{error_place(error, component.target)}"
        text = f"The stage {stage} failed in {component.owner} of {component.maker}: {what}. {component.remedy}"
        return StageError(text, None if component.bundled else where(component.plugin))


def invalid_result(component: ComponentSpec, violation: validation.Violation) -> PluginError:
    """Return the error for a result of a component that breaks its interface."""
    wrong = f"{component.owner} of {component.maker} returned an invalid result: {violation}."
    return PluginError(f"{wrong} {component.remedy}")


def keyed_stage(
    store: Store,
    components: Components,
    name: str,
    slots: tuple[str, ...],
    inputs: dict[str, str],
    config: dict[str, Any],
    packages: Iterable[str],
) -> Stage:
    """Return a stage whose key covers the components in ``slots`` and the revisions of the core ``packages`` that it runs."""
    parts = {"slots": components.identities(slots), "core": core_revisions(packages), **config}
    revision = components.descriptor(slots[-1]).revision
    return store.stage(name, slots[-1], revision, parts, components.context.seed, inputs)


def core_revisions(packages: Iterable[str]) -> dict[str, int]:
    """Return package of the core -> its ``REVISION``, for content keys."""
    return {name: importlib.import_module(f"avatarkit.{name}").REVISION for name in packages}


def load_tracked_subject(store: Path, manifest: dict[str, Any]) -> Subject:
    """Return the tracked photo of a finished avatar, from its cache.

    Raises:
        StoreError: the cache was deleted.
    """
    return load_subject(store / f"tracking-{manifest['stages']['tracking']['key'][:16]}")
