"""``avatarkit build``: one photo becomes an avatar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import (
    Anyway,
    Device,
    JsonFlag,
    NoSign,
    PluginFiles,
    Seed,
    Sign,
    load_registry,
    print_json,
    say,
    table,
    tell,
    verbose,
)

if TYPE_CHECKING:
    from avatarkit.pipeline.plan import Plan
    from avatarkit.registry import ComponentSpec

__all__ = ["build", "measures"]


def _slot(help: str) -> Any:
    return typer.Option(help=help, metavar="NAME")


def build(
    photo: Annotated[Path | None, typer.Argument(help="Photo of one consenting person.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The avatar's folder. [default: <photo>.avatar in the current folder]")
    ] = None,
    sample: Annotated[str | None, typer.Option(help="Use an included public-domain photo: portrait.", metavar="NAME")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Quality and time. [default: paper with CUDA, else standard]", metavar="instant|draft|standard|paper|open"
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe of your own; it overrides the preset.", metavar="FILE.toml"),
    ] = None,
    matting: Annotated[str | None, _slot("Component that cuts out the person.")] = None,
    matter: Annotated[str | None, typer.Option("--matter", hidden=True)] = None,
    keypoints: Annotated[str | None, _slot("Component that detects landmarks.")] = None,
    tracker: Annotated[str | None, _slot("Component that fits the body model.")] = None,
    body: Annotated[str | None, _slot("Body model.")] = None,
    motions: Annotated[str | None, _slot("Source of motions.")] = None,
    body_labels: Annotated[str | None, _slot("Generator of body pictures in other poses, or none.")] = None,
    head_labels: Annotated[str | None, _slot("Generator of head pictures with other expressions, or none.")] = None,
    avatar: Annotated[str | None, _slot("Kind of avatar.")] = None,
    perceptual: Annotated[str | None, _slot("Perceptual loss, or none.")] = None,
    renderer: Annotated[str | None, _slot("Draws.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one option, e.g. training.steps=500. May be repeated.", metavar="SLOT.OPTION=VALUE"),
    ] = None,
    sign: Sign = None,
    no_sign: NoSign = False,
    anyway: Anyway = False,
    device: Device = "auto",
    seed: Seed = 0,
    person: Annotated[
        int | None, typer.Option(help="Number of the person, from the left, if the photo shows several.", min=1, metavar="N")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Run this stage and all later stages again.", metavar="STAGE")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run all stages again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the build would do and what is missing, without building.")
    ] = False,
    consent: Annotated[
        str | None,
        typer.Option(help="What the person agreed to: a text, or a record with scope and end.", metavar="TEXT|FILE.toml"),
    ] = None,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="Refuse components whose terms do not clearly allow commercial use.")
    ] = False,
    keep_photo: Annotated[bool, typer.Option("--keep-photo", help="Put the photo itself into the avatar.")] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write losses and pictures of the training for TensorBoard.", metavar="FOLDER")
    ] = None,
    plugin: PluginFiles = None,
    verbosely: Annotated[bool, typer.Option("-v", "--verbose", help="Show the log of what is done and why.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Build an avatar from one photo.

    If a build is interrupted, run the same command again and it continues where it stopped.
    """
    from avatarkit.errors import ConfigError
    from avatarkit.utils.files import check_output

    photo, output = _source(photo, sample, output)
    check_output(output, photo, recipe, *(plugin or ()))
    if consent is not None and not consent.isprintable() and any(0xD800 <= ord(c) < 0xE000 for c in consent):
        raise ConfigError("--consent is not valid text; type it again in UTF-8.")
    verbose(verbosely)
    flags = {
        "matting": matting, "matter": matter, "keypoints": keypoints, "tracker": tracker, "body": body, "motions": motions,
        "body_labels": body_labels, "head_labels": head_labels, "avatar": avatar, "perceptual": perceptual,
        "renderer": renderer,
    }  # fmt: skip
    from avatarkit.components import choose_recipe

    chosen = choose_recipe(preset, recipe, flags, settings or (), device)
    registry = load_registry([*chosen.plugins, *(plugin or ())], sign, no_sign, anyway)
    if commercial:
        from avatarkit_cli.trust.ledger import require_commercial

        require_commercial(chosen, registry)
    if dry_run:
        from avatarkit.io.consent import read_consent
        from avatarkit.pipeline.plan import plan

        read_consent(consent)

        planned = plan(photo, output, chosen, registry, device)
        print_json(planned.to_dict()) if as_json else _show_plan(planned)
        planned.require_ready()
        return

    from avatarkit.pipeline.build import build as build_avatar
    from avatarkit.storage.bundle import read_manifest
    from avatarkit.training.callbacks import TensorBoardLogger

    callbacks = [] if tensorboard is None else [TensorBoardLogger(tensorboard)]
    with make_progress() as progress:
        path = build_avatar(
            photo, output, recipe=chosen, registry=registry, device=device, seed=seed, start=start, fresh=fresh,
            consent=consent, purpose="commercial" if commercial else "",
            keep_photo=keep_photo, person=person, progress=progress, callbacks=callbacks,
        )  # fmt: skip
    manifest = read_manifest(path)
    for problem in registry.problems:
        tell(f"Note: plugin {problem.owner}: {problem}")
    if as_json:
        print_json({"avatar": str(path), "manifest": manifest})
    else:
        _show_result(path, manifest)


def _source(photo: Path | None, sample: str | None, output: Path | None) -> tuple[Path, Path]:
    """Return the photo and the avatar's folder."""
    from avatarkit.errors import ConfigError

    if (photo is None) == (sample is None):
        raise ConfigError("Name one photo, for example: avatarkit build me.jpg. Or try avatarkit build --sample portrait.")
    if photo is not None:
        return photo, output or Path(f"{photo.stem}.avatar")
    assert sample is not None
    from avatarkit.io.photo import sample_photo

    return sample_photo(sample), output or Path(f"{sample}.avatar")


def _show_plan(planned: Plan) -> None:
    say(f"{planned.photo} -> {planned.output}, recipe {planned.recipe}, on {planned.device}")
    rows = []
    for step in planned.steps:
        missing = ["its setup" if r.kind == "setup" else r.name for r in step.requirements if not r.met]
        state = "; ".join([f"MISSING {', '.join(missing)}"] * bool(missing) + [_terms(step.component)])
        rows.append((step.slot, step.component.name if step.component else "-", state))
    table(("slot", "component", "what is missing; license"), rows)
    forbidden = sorted({owner for owner, license in planned.licenses.items() if license.commercial is False})
    asked = {True: set[str](), False: set[str]()}  # those of the user's own plugins, and others
    for component in (step.component for step in planned.steps):
        if component and component.terms.commercial is None:
            asked[component.plugin.local].add(component.owner)
    say("")
    say(f"Commercial use: {'not allowed by ' + ', '.join(forbidden) if forbidden else 'not forbidden by any component'}.")
    if asked[False]:
        say(f"Commercial use: unclear for {', '.join(sorted(asked[False]))}; ask their authors.")
    if asked[True]:
        say(f"Commercial use: unclear for {', '.join(sorted(asked[True]))}; give register(...) license=License(...).")
    if planned.estimates:
        say("\nEstimated cost of the heavy steps, where known:")
        for estimate in planned.estimates:
            say(f"  {estimate.text}")


def _terms(component: ComponentSpec | None) -> str:
    if component is None:
        return ""
    license = component.terms
    weights = "" if license.weights in ("none", "not declared") else f"; {license.weights}"
    return f"{license.code}{weights}{'; no commercial use' if license.commercial is False else ''}"


_MEASURES = {
    "psnr_matte": "{:.1f} dB PSNR inside the matte",
    "silhouette_iou": "silhouette IoU {:.3f}",
    "face_error_percent_head": "face landmarks within {:.1f} % of the head's height",
}


def measures(metrics: Mapping[str, Any]) -> list[str]:
    """Return in words how well an avatar fits its photo; ``metrics`` are those of its manifest."""
    return [text.format(value) for name, text in _MEASURES.items() if isinstance(value := metrics.get(name), (int, float))]


def _show_result(path: Path, manifest: dict[str, Any]) -> None:
    seconds = sum(s["seconds"] for s in manifest.get("stages", {}).values() if not s.get("reused"))
    for warning in manifest.get("warnings", ()):
        tell(f"Note: {warning}")
    say(str(path))
    tell(f"Built in {seconds:.0f} s: {', '.join(measures(manifest.get('metrics', {})))}.")
    tell(f"Report: {path / 'report.html'}   Animate: avatarkit animate {path} -o talk.mp4 --motion talk")
