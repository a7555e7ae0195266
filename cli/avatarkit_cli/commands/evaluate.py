"""``avatarkit evaluate``: compares an avatar of a clip's first frame with the rest of the clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avatarkit_cli.progress import make_progress
from avatarkit_cli.shared import Device, JsonFlag, PluginFiles, Seed, load_registry, print_json, say, table, tell

__all__ = ["evaluate"]

_PERCEPTUAL = ("lpips", "st-lpips")
"""Metrics for the column LPIPS, the best first; the output names the one that was used."""
_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".m4v")


def evaluate(
    source: Annotated[Path, typer.Argument(help="A clip of one person by a fixed camera, or a folder of clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for results and pictures.")] = Path("report"),
    preset: Annotated[str | None, typer.Option(help="As for build.", metavar="instant|draft|standard|paper")] = None,
    recipe: Annotated[Path | None, typer.Option(help="As for build.", metavar="FILE.toml")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="As for build. May be repeated.", metavar="SLOT.OPTION=VALUE")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of each clip to compare, spread evenly.", min=1)] = 24,
    photo_frame: Annotated[int, typer.Option(help="Number of the frame that is the photo, from 0.", min=0)] = 0,
    device: Device = "auto",
    seed: Seed = 0,
    plugin: PluginFiles = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare an avatar with the clip that its photo comes from.

    The first frame is the photo, the other frames are the truth. Two baselines are measured too: the unchanged photo and the
    untrained mesh.
    """
    from avatarkit.components import choose_recipe
    from avatarkit.utils.files import check_output

    check_output(output, source, recipe, *(plugin or ()))
    clips = _clips(source)
    chosen = choose_recipe(preset, recipe, None, settings or (), device)
    registry = load_registry(plugin)

    from avatarkit.errors import InputError
    from avatarkit.evaluation import REPORT
    from avatarkit.evaluation import evaluate as evaluate_clip
    from avatarkit.storage.stage_cache import write_json
    from avatarkit.utils.files import only_user
    from avatarkit.utils.folders import OutputFolder

    report = OutputFolder(output, REPORT)
    report.check(["results.json"])
    results: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for clip in clips:
        if len(clips) > 1:
            tell(clip.name)
        folder = output / clip.stem if len(clips) > 1 else output
        try:
            with only_user(output), make_progress() as progress:
                results[clip.name] = evaluate_clip(
                    clip,
                    folder,
                    recipe=chosen,
                    registry=registry,
                    frames=frames,
                    photo_frame=photo_frame,
                    perceptual=_PERCEPTUAL,
                    device=device,
                    seed=seed,
                    progress=progress,
                )
        except InputError as error:  # one bad clip must not stop the others
            if len(clips) == 1:
                raise
            failed[clip.name] = str(error)
            tell(str(error))
    if not results:
        raise InputError(f"None of the clips in {source} could be used.")
    data = {"recipe": chosen.to_dict(), "clips": results, "failed": failed, "mean": _mean(results)}
    report.add("results.json", lambda path: write_json(path, data))
    print_json(data) if as_json else _show(data, output)


def _clips(source: Path) -> list[Path]:
    from avatarkit.errors import InputError

    if not source.exists():
        raise InputError(f"There is no clip or folder {source}.")
    clips = sorted(p for p in source.iterdir() if p.suffix.lower() in _SUFFIXES) if source.is_dir() else [source]
    if not clips:
        raise InputError(f"The folder {source} contains no clips ({', '.join(_SUFFIXES)}).")
    return clips


def _mean(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return method -> metric -> mean over the clips."""
    from avatarkit.evaluation import METHODS, METRICS

    scores = [result["methods"] for result in results.values()]
    return {m: {k: sum(s[m][k] for s in scores) / len(scores) for k in METRICS} for m in METHODS}


def _show(data: dict[str, Any], output: Path) -> None:
    from avatarkit.evaluation import losses_to

    results = data["clips"]
    perceptual = next(iter(results.values()))["perceptual"]
    rows = [_row(clip, method, scores) for clip, r in results.items() for method, scores in r["methods"].items()]
    if len(results) > 1:
        rows += [_row("mean", method, scores) for method, scores in data["mean"].items()]
    table(("clip", "method", "MSE", "L1", "PSNR", "SSIM", perceptual), rows)
    for clip, result in results.items():
        if found := losses_to(result["methods"]):
            say(f"{clip}: the avatar does not beat {', '.join(found)}.")
    for clip, sentence in data["failed"].items():
        say(f"{clip}: not measured. {sentence}")
    say(str(output))


def _row(clip: str, method: str, scores: dict[str, float]) -> tuple[str, ...]:
    digits = {"mse": 4, "l1": 4, "psnr": 2, "ssim": 4, "lpips": 4}
    return (clip, method, *(f"{scores[name]:.{n}f}" for name, n in digits.items()))
