"""``avatarkit batch``: thousands of photos become avatars."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from avatarkit_cli import interrupts
from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, JsonFlag, PluginFiles, Seed, print_json, say, table, tell

__all__ = ["batch"]

_MOST_SHOWN = 50  # failed photos in the table
_LINE_SECONDS = 30.0  # between lines of progress without a terminal


def batch(
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos, folders, globs, or a CSV: photo,name,person,consent,preset.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = ...,  # type: ignore[assignment]
    on: Annotated[str, typer.Option(help="Where avatars are built.", metavar="local|ray|slurm")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster. [default: RAY_ADDRESS]", metavar="ADDR")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", help="Builds at a time. [default: by cores and memory]", min=1, metavar="N")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(help="A build that takes longer fails; 0 = no limit. [default: by preset]", min=0, metavar="MINUTES"),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Quality and time, as of build.", metavar="instant|draft|standard|paper|open")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe of your own; it overrides the preset.", metavar="FILE.toml")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one option, e.g. training.steps=500. May be repeated.", metavar="SLOT.OPTION=VALUE"),
    ] = None,
    consent_file: Annotated[
        Path | None,
        typer.Option(help="CSV: photo,consent, or photo and the fields of a record. Each photo needs a row.", metavar="FILE.csv"),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try photos that failed again.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Build an avatar of each of many photos.

    No photo stops the others. If a run is interrupted or killed, run the same command again and it continues; more photos may be
    named then. Exit code 3: some photos failed.
    """
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output
    from avatarkit_cli.batch.inputs import read_consents, read_photos
    from avatarkit_cli.batch.run import PLACES, Settings, run_batch

    if on not in PLACES:
        raise ConfigError(f"--on {on!r} is unknown: use {', '.join(PLACES)}.")
    if address is not None and on != "ray":
        raise ConfigError("--address is for --on ray.")
    check_output(output, recipe, consent_file, *(photos or ()), *(plugin or ()))
    consents = None if consent_file is None else read_consents(consent_file)
    chosen = Settings(preset, recipe, settings or (), device, seed, plugin or ())
    rows = read_photos(photos or (), consents)
    with _progress() as show:
        counts, failed = run_batch(
            rows, output, chosen, on=on, address=address, jobs=jobs, minutes=time_limit, retry_failed=retry_failed, show=show
        )
    if as_json:
        print_json({"run": str(output), "counts": counts, "failed": failed})
    else:
        _show(output, counts, failed)
    if failed:
        raise typer.Exit(3)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Show rate, failures and time left: in a bar, or without a terminal in a line now and then."""
    if sys.stderr.isatty():
        with make_progress() as bars, bars.stage("batch"):
            yield bars.update
        return
    last = time.monotonic()

    def show(text: str, part: float) -> None:
        nonlocal last
        interrupts.check()
        if time.monotonic() - last > _LINE_SECONDS:
            last = time.monotonic()
            tell(text)

    yield show


def _show(output: Path, counts: dict[str, int], failed: list[dict[str, str]]) -> None:
    """Print where the avatars are; the table of failed photos comes last."""
    say(str(output))
    tell(f"{counts['done']} of {sum(counts.values())} photos are avatars. Contact sheet: {output / 'report.html'}")
    if failed:
        say("")
        table(("failed", "why"), [(row["name"], row["reason"]) for row in failed[:_MOST_SHOWN]])
        if len(failed) > _MOST_SHOWN:
            say(f"and {len(failed) - _MOST_SHOWN} more: see {output / 'index.csv'}.")
