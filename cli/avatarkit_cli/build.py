"""``avatarkit build``: one photo becomes an avatar."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, JsonFlag, PluginFiles, Seed, load_registry, print_json, say, table, tell, verbose

if TYPE_CHECKING:
    from avatarkit.pipeline.plan import Plan
    from avatarkit.registry import Component

__all__ = ["build", "sample_photo"]

_SAMPLES = {"portrait": ("skimage", "data/astronaut.png")}
"""Public-domain photos that installed packages ship: name -> package, file in it."""


def _slot(help: str) -> Any:
    return typer.Option(help=help, metavar="NAME")


def build(
    photo: Annotated[Path | None, typer.Argument(help="Picture of one consenting person.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The avatar's folder. [default: <photo>.avatar here]")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Take a public-domain photo that comes along: portrait.", metavar="NAME")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="How good, how long. [default: paper with CUDA, else standard]", metavar="instant|draft|standard|paper|open"
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe of your own, over the preset where both are given.", metavar="FILE.toml"),
    ] = None,
    matting: Annotated[str | None, _slot("Cuts the person out.")] = None,
    matter: Annotated[str | None, typer.Option("--matter", hidden=True)] = None,
    keypoints: Annotated[str | None, _slot("Finds landmarks.")] = None,
    tracker: Annotated[str | None, _slot("Fits the body model.")] = None,
    body: Annotated[str | None, _slot("The body model.")] = None,
    motions: Annotated[str | None, _slot("Where motions come from.")] = None,
    body_labels: Annotated[str | None, _slot("Makes pictures of the body in other poses, or none.")] = None,
    head_labels: Annotated[str | None, _slot("Makes pictures of the head with other expressions, or none.")] = None,
    avatar: Annotated[str | None, _slot("The kind of avatar.")] = None,
    perceptual: Annotated[str | None, _slot("The perceptual loss, or none.")] = None,
    renderer: Annotated[str | None, _slot("Draws.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one option, e.g. training.steps=500. May be repeated.", metavar="SLOT.OPTION=VALUE"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    person: Annotated[
        int | None, typer.Option(help="Which one, from the left, where the photo shows several.", min=1, metavar="N")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Make this stage and all after it again.", metavar="STAGE")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make all stages again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and what is missing.")] = False,
    consent: Annotated[str | None, typer.Option(help="What the person agreed to, kept in the manifest.", metavar="TEXT")] = None,
    keep_photo: Annotated[bool, typer.Option("--keep-photo", help="Put the photo itself into the avatar.")] = False,
    plugin: PluginFiles = None,
    verbosely: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is done and why.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Build an avatar from one photo.

    A build that was stopped goes on where it was when the same command is given again.
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
    from avatarkit.api import choose_recipe

    chosen = choose_recipe(preset, recipe, flags, settings or (), device)
    registry = load_registry(plugin)
    if dry_run:
        from avatarkit.pipeline.plan import plan

        planned = plan(photo, output, chosen, registry, device)
        print_json(planned.to_dict()) if as_json else _show_plan(planned)
        planned.require_ready()
        return

    from avatarkit.pipeline.build import build as build_avatar
    from avatarkit.storage.bundle import read_manifest

    with make_progress() as progress:
        path = build_avatar(
            photo, output, recipe=chosen, registry=registry, device=device, seed=seed, start=start, fresh=fresh,
            consent=consent, keep_photo=keep_photo, person=person, progress=progress,
        )  # fmt: skip
    manifest = read_manifest(path)
    for problem in registry.problems:
        tell(f"Note: plugin {problem.owner}: {problem}")
    if as_json:
        print_json({"avatar": str(path), "manifest": manifest})
    else:
        _show_result(path, manifest)


def _source(photo: Path | None, sample: str | None, output: Path | None) -> tuple[Path, Path]:
    """The photo, and where its avatar goes."""
    from avatarkit.errors import ConfigError

    if (photo is None) == (sample is None):
        raise ConfigError("Give one photo, for example: avatarkit build me.jpg - or try avatarkit build --sample portrait.")
    if photo is not None:
        return photo, output or Path(f"{photo.stem}.avatar")
    assert sample is not None
    return sample_photo(sample), output or Path(f"{sample}.avatar")


def sample_photo(name: str) -> Path:
    """A public-domain photo that an installed package ships.

    Raises:
        ConfigError: there is none of that name. MissingDependency: its package is not here.
    """
    from avatarkit.config.options import did_you_mean
    from avatarkit.errors import ConfigError, MissingDependency

    if name not in _SAMPLES:
        raise ConfigError(f"There is no sample {name!r}.{did_you_mean(name, _SAMPLES)} There is: {', '.join(_SAMPLES)}.")
    package, file = _SAMPLES[name]
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin).parent / file if spec and spec.origin else None
    if found is None or not found.is_file():
        raise MissingDependency(f"The sample {name!r} comes with scikit-image, which is not here: pip install scikit-image")
    return found


def _show_plan(planned: Plan) -> None:
    say(f"{planned.photo} -> {planned.output}, recipe {planned.recipe}, on {planned.device}")
    rows = []
    for step in planned.steps:
        missing = ["its setup" if r.kind == "setup" else r.name for r in step.requirements if not r.met]
        state = "; ".join([f"MISSING {', '.join(missing)}"] * bool(missing) + [_terms(step.component)])
        rows.append((step.slot, step.component.name if step.component else "-", state))
    table(("slot", "component", "what is missing; licence"), rows)
    forbidden = sorted({owner for owner, licence in planned.licences.items() if licence.commercial is False})
    unclear = sorted({owner for owner, licence in planned.licences.items() if licence.commercial is None})
    say("")
    say(f"Commercial use: {'not allowed by ' + ', '.join(forbidden) if forbidden else 'forbidden by nothing in it'}.")
    if unclear:
        say(f"Commercial use: ask about {', '.join(unclear)}.")
    if planned.estimates:
        say("\nWhat the heavy steps take, as far as their makers say:")
        for estimate in planned.estimates:
            say(f"  {estimate.text}")


def _terms(component: Component | None) -> str:
    if component is None:
        return ""
    licence = component.licence
    weights = "" if licence.weights == "none" else f"; {licence.weights}"
    return f"{licence.code}{weights}{'; no commercial use' if licence.commercial is False else ''}"


_MEASURES = {
    "psnr_matte": "{:.1f} dB PSNR inside the matte",
    "silhouette_iou": "silhouette IoU {:.3f}",
    "face_error_percent_head": "landmarks of the face within {:.1f} % of the head's height",
}


def _show_result(path: Path, manifest: dict[str, Any]) -> None:
    seconds = sum(s["seconds"] for s in manifest.get("stages", {}).values() if not s.get("reused"))
    metrics = manifest.get("metrics", {})
    measures = [text.format(metrics[name]) for name, text in _MEASURES.items() if name in metrics]
    for warning in manifest.get("warnings", ()):
        tell(f"Note: {warning}")
    say(str(path))
    tell(f"Built in {seconds:.0f} s: {', '.join(measures)}.")
    tell(f"Look: {path / 'report.html'}   Move: avatarkit animate {path} -o talk.mp4 --motion talk")
