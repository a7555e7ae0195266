"""A run from its photos to its tables: ``run_batch``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from avatarkit import __version__
from avatarkit.components import choose_recipe, resolve_device
from avatarkit.config import SECTIONS, Recipe
from avatarkit.errors import ConfigError
from avatarkit.pipeline.manifest import without_folders
from avatarkit.pipeline.plan import plan
from avatarkit.registry.provenance import weights_digests
from avatarkit.utils.threads import cores
from avatarkit_cli.batch.driver import Workshop, drive
from avatarkit_cli.batch.executors import Executor, Local, Ray, Slurm
from avatarkit_cli.batch.index import Index
from avatarkit_cli.batch.inputs import Row
from avatarkit_cli.batch.shares import local_shares, minutes_of, shares_of
from avatarkit_cli.batch.sheet import write_sheet
from avatarkit_cli.shared import load_registry

__all__ = ["PLACES", "Settings", "run_batch"]

PLACES = ("local", "ray", "slurm")
_QUEUED = 100  # jobs of Slurm in its queue at a time


class Settings:
    """What all photos of a run share, for each preset that they name.

    Args:
        preset, recipe, settings, device, seed, plugins: as of ``avatarkit build``.
    """

    def __init__(
        self,
        preset: str | None = None,
        recipe: Path | None = None,
        settings: Sequence[str] = (),
        device: str = "auto",
        seed: int = 0,
        plugins: Sequence[Path] = (),
    ) -> None:
        self.preset, self.device, self.seed = preset, device, seed
        self._recipe, self._settings, self._plugins = recipe, settings, plugins

    def recipe(self, preset: str) -> Recipe:
        """Return the recipe of rows with a preset; "" = that of the run."""
        return choose_recipe(preset or self.preset, self._recipe, {}, self._settings, self.device)

    def meaning(self, preset: str, output: Path, local: bool) -> dict[str, Any]:
        """Return everything that changes what a preset makes of a photo, as plain values.

        Args:
            preset: of rows.
            output: the folder of the run.
            local: whether builds run here; then what they need must be here, too.
        """
        recipe = self.recipe(preset)
        registry = load_registry([*recipe.plugins, *self._plugins])
        any_file, avatar = Path(__file__), output / "avatars" / "any.avatar"  # a plan opens neither
        made = plan(any_file, avatar, recipe, registry, self.device if local else "auto")
        if local:
            made.require_ready()
        found: dict[str, Any] = {"preset": preset or self.preset, "device": self.device, "seed": self.seed}
        found |= {"avatarkit": __version__, "losses": recipe.to_dict().get("losses")}
        found |= {name: asdict(recipe.resolved(name)) for name in SECTIONS}
        for step in made.steps:
            if step.component:
                weights = weights_digests(step.component) if local else {}
                version = step.component.plugin.version
                found[step.slot] = {"use": step.component.name, "version": version, "weights": weights, **step.config}
        return cast(dict[str, Any], without_folders(found))

    def job(self, preset: str, share: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of ``Job`` that do not depend on the photo."""
        recipe = self.recipe(preset)
        files = (*recipe.plugins, *self._plugins)
        plugins = tuple(str(file if str(file).startswith("no:") else file.absolute()) for file in files)
        return {"recipe": recipe.to_dict(), "plugins": plugins, "device": self.device, "seed": self.seed, **share}


def run_batch(
    rows: Iterable[Row],
    output: Path,
    settings: Settings,
    *,
    on: str = "local",
    address: str | None = None,
    jobs: int | None = None,
    minutes: float | None = None,
    retry_failed: bool = False,
    show: Callable[[str, float], None] = lambda text, part: None,
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Build an avatar of each photo; what an earlier run of the folder finished is kept.

    Args:
        rows: the photos; those of earlier runs need not be named again.
        output: folder of the run.
        settings: recipe, device and seed.
        on: ``local``, ``ray`` or ``slurm``.
        address: of the Ray cluster.
        jobs: how many builds run or wait in the queue at a time; None = chosen by machine and preset.
        minutes: after which a build is killed and its photo has failed; 0 = never, None = by preset.
        retry_failed: try failed photos again, too.
        show: receives progress.

    Returns:
        The number of photos in each state, and the rows that failed, as in ``index.jsonl``.

    Raises:
        AvatarkitError: nothing can be built, see ``avatarkit.errors``; no photo raises an error.
    """
    local = on == "local"
    with Index(output) as index:
        index.add(rows, lambda preset: settings.meaning(preset, output, local))
        if not sum(index.counts().values()):
            raise ConfigError("Name photos, for example: avatarkit batch photos/ -o run.")
        slots, share = local_shares(jobs, cores(), settings.preset, local and resolve_device(settings.device).type == "cuda")
        shared = {}
        for name in index.presets():
            preset = name or settings.preset
            limit = minutes_of(settings.recipe(name).name) if minutes is None else minutes
            shared[name] = settings.job(name, {**(share if local else shares_of(preset, settings.device)), "minutes": limit})
        with _tables(index), Workshop(output, shared) as workshop:
            workshop.take_in(index, workshop.leftovers())
            index.resume(retry_failed)
            if index.counts()["waiting"]:
                executor: Executor
                if on == "ray":
                    executor = Ray(jobs, address)
                elif on == "slurm":
                    executor = Slurm(jobs or _QUEUED, output.absolute() / "work" / "slurm")
                else:
                    workshop.warm_up()
                    executor = Local(slots)
                drive(index, workshop, executor, show)
        return index.counts(), list(index.rows("state = 'failed'"))


@contextmanager
def _tables(index: Index) -> Iterator[None]:
    """Write the tables and the contact sheet at the end of the block, and when it is interrupted."""
    try:
        yield
    finally:
        index.write_tables()
        write_sheet(index)
