"""``avatarkit evaluate``: how far an avatar of a clip's first frame is from the rest of the clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, JsonFlag, PluginFiles, load_registry, print_json, say, table, tell

__all__ = ["evaluate"]

_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".m4v")


def evaluate(
    source: Annotated[Path, typer.Argument(help="A clip of one person by a still camera, or a folder of clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for results and pictures.")] = Path("report"),
    preset: Annotated[str | None, typer.Option(help="As for build.", metavar="instant|draft|standard|paper")] = None,
    recipe: Annotated[Path | None, typer.Option(help="As for build.", metavar="FILE.toml")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="As for build. May be repeated.", metavar="SLOT.OPTION=VALUE")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of each clip to compare, spread evenly.", min=1)] = 24,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure an avatar against the clip that its photo comes from.

    The first frame is the photo, the others are the truth. Beside the avatar stand the photo held still and the
    untrained mesh.
    """
    from avatarkit.api import choose_recipe

    clips = _clips(source)
    chosen = choose_recipe(preset, recipe, None, settings or (), device)
    registry = load_registry(plugin)

    from avatarkit.evaluation import evaluate as evaluate_clip
    from avatarkit.store import write_json

    results = {}
    for clip in clips:
        if len(clips) > 1:
            tell(clip.name)
        folder = output / clip.stem if len(clips) > 1 else output
        with make_progress() as progress:
            results[clip.name] = evaluate_clip(
                clip,
                folder,
                recipe=chosen,
                registry=registry,
                frames=frames,
                device=device,
                seed=seed,
                progress=progress,
            )
    data = {"recipe": chosen.to_dict(), "clips": results, "mean": _mean(results)}
    write_json(output / "results.json", data)
    print_json(data) if as_json else _show(data, output)


def _clips(source: Path) -> list[Path]:
    from avatarkit.errors import InputError

    if not source.exists():
        raise InputError(f"There is no clip or folder {source}.")
    clips = sorted(p for p in source.iterdir() if p.suffix.lower() in _SUFFIXES) if source.is_dir() else [source]
    if not clips:
        raise InputError(f"The folder {source} holds no clips ({', '.join(_SUFFIXES)}).")
    return clips


def _mean(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Method -> metric -> mean over the clips."""
    from avatarkit.evaluation import METHODS, METRICS

    scores = [result["methods"] for result in results.values()]
    return {m: {k: sum(s[m][k] for s in scores) / len(scores) for k in METRICS} for m in METHODS}


def _show(data: dict[str, Any], output: Path) -> None:
    perceptual = next(iter(data["clips"].values()))["perceptual"]
    heads = ("MSE", "L1", "PSNR", "SSIM", perceptual)
    rows = [
        (method, *(f"{scores[k]:.4f}" for k in ("mse", "l1")), f"{scores['psnr']:.2f}", f"{scores['ssim']:.4f}",
         f"{scores['lpips']:.4f}")
        for method, scores in data["mean"].items()
    ]  # fmt: skip
    table(("mean over clips", *heads), rows)
    say(str(output))
