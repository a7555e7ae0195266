"""What each part of the method is worth: the paper's Fig. 6 to 8 and our own additions, as one table and one picture grid.

    python benchmarks/ablations.py ada.mp4 bob.mp4 -o ablations
    python benchmarks/ablations.py ada.mp4 bob.mp4 -o ablations --rows full "no labels" --set training.steps=300

Every row is ``avatarkit evaluate`` with a changed recipe: one frame of a clip is the photo, the avatar is driven by the motion
tracked in the rest and compared with it. Rows of a clip share tracking and whatever else they have in common, and a run that
was interrupted goes on where it was. Writes ``ablations.json``, ``ablations.md`` and ``ablations.png``.

Reprojected labels know no more than the photo and are exact. So ``witness_labels.py`` and ``drifting_labels.py`` stand in for
a diffusion model: the former shows frames of the clip itself, as a perfect one would, the latter strays from what it was asked
for. Their rows are compared with ``witness`` and ``straying labels``, not with ``full``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from avatarkit.config import Recipe
from avatarkit.evaluation import evaluate
from avatarkit.io.image import load_png, save_png
from avatarkit.registry import Registry
from avatarkit.storage.stage_cache import write_json
from avatarkit_cli.progress import make_progress

FULL = "full"
STRAYING = "straying labels"
WITNESS = "witness"
SEEN = (
    "body_labels.use=witness", "body_labels.video={clip}", "labels.body_clips=1", "labels.head_clips=0",
    "training.photo_share=0.5",
)  # fmt: skip
MESH = tuple(f"losses.{name}.weight=0" for name in ("normal", "mesh-mask", "consistency"))
L1 = (
    "losses.perceptual.weight=0", "losses.label-l1.use=rgb-l1", "losses.label-l1.weight=0.2",
    'losses.label-l1.on=["body", "head"]',
)  # fmt: skip
PAPER = ("losses.label-colors.weight=0", "avatar.label_color=1")
DRIFT = ("body_labels.use=drifting", "labels.head_clips=0")
WEIGHTS = ("normal", "mesh-mask", "consistency", "laplacian", "perceptual", "rgb", "ssim", "alpha")
LEFT_TO_RIGHT = ("1e-2", "1e-1", "1e2", "2e-1", "8e-1", "1e-1", "4e-1", "0")
"""Terms of the objective in the order in which section 3.4 names their weights, and the weights as they stand."""

ROWS: dict[str, tuple[str, ...]] = {
    FULL: (),
    # the paper's ablations
    "no labels": ("labels.body_clips=0", "labels.head_clips=0"),
    "labels by L1": (*PAPER, *L1),
    "no mesh constraints": MESH,
    "L_MGC / 10": ("losses.consistency.weight=10",),
    "no Laplacian": ("losses.laplacian.weight=0",),
    WITNESS: SEEN,
    "witness, by LPIPS alone": (*SEEN, *PAPER),
    "witness, by L1": (*SEEN, *PAPER, *L1),
    "witness, no mesh constraints": (*SEEN, *MESH),
    "witness, no Laplacian": (*SEEN, "losses.laplacian.weight=0"),
    "witness, not calibrated": (*SEEN, "labels.calibrate=false"),
    STRAYING: DRIFT,
    "straying, not re-tracked": (*DRIFT, "labels.retrack=false"),
    # how the seven printed weights are read: ours is `full`; these lack the value of another term
    "weights left to right": (
        *PAPER, *(f"losses.{name}.weight={value}" for name, value in zip(WEIGHTS, LEFT_TO_RIGHT, strict=True)),
    ),
    "Laplacian x 100": ("losses.laplacian.weight=100",),
    # our own options
    "the paper's L_alpha": ("losses.alpha.weight=0.4",),
    "clip not compared with the photo": ("tracker.texture_rounds=0",),
    "no growth": ("avatar.grow=false",),
    "ellipsoids": ("avatar.anisotropic=true",),
    "colors that depend on the view": ("avatar.sh_degree=1",),
    "face_factor 1": ("avatar.face_factor=1",),
    "no detail crops": ("training.detail_share=0",),
    "photo_share 0.5": ("training.photo_share=0.5",),
    "no confidence": ("training.confidence=false",),
    "straying, not calibrated": (*DRIFT, "labels.calibrate=false"),
    "LPIPS on the photo too": ('losses.perceptual.on=["photo", "body", "head"]',),
}  # fmt: skip
"""Row -> what it changes in the recipe."""

QUICK = ("preview.height=96", "preview.seconds=0.2", "preview.fps=10")
PERCEPTUAL = ("lpips", "st-lpips")
NUMBERS = {"psnr": ("PSNR", 2, 1), "ssim": ("SSIM", 4, 1), "lpips": ("LPIPS", 4, -1)}
"""Metric -> heading, digits, and whether more (1) or less (-1) is better."""


def measure(
    clips: Sequence[Path], rows: Sequence[str], output: Path, preset: str, settings: Sequence[str], frames: int, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One row after the other: its name, and clip -> what ``evaluate`` returns."""
    registry = Registry.load([Path(__file__).with_name(f"{kind}_labels.py") for kind in ("drifting", "witness")])
    for row in rows:
        results = {}
        for clip in clips:
            changes = (change.replace("{clip}", str(clip.resolve())) for change in ROWS[row])
            recipe = Recipe.load(preset, settings=(*QUICK, *settings, *changes))
            folder = output / clip.stem
            print(f"{clip.name}: {row}", file=sys.stderr, flush=True)
            with make_progress() as progress:
                results[clip.name] = evaluate(
                    clip, folder, recipe=recipe, registry=registry, frames=frames, perceptual=PERCEPTUAL, seed=seed,
                    progress=progress,
                )  # fmt: skip
            (folder / "comparison.png").replace(folder / f"{_slug(row)}.png")
        yield row, results


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row per ablation, means over clips, and the difference to the row it is to be compared with."""
    metric = next(iter(next(iter(found.values())).values()))["perceptual"]
    heads = [h if k != "lpips" else metric for k, (h, _, _) in NUMBERS.items()]
    lines = [
        f"| row | {' | '.join(heads)} | face {' | face '.join(heads)} |",
        "|---" * (1 + 2 * len(heads)) + "|",
    ]
    for row, results in found.items():
        base = next((b for b in (STRAYING, WITNESS) if row.startswith(f"{b.split()[0]},")), FULL)
        cells = [
            _cell(results, found.get(base) if row != base else None, name, face) for face in (False, True) for name in NUMBERS
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(results: Mapping[str, Any], base: Mapping[str, Any] | None, name: str, face: bool) -> str:
    digits = NUMBERS[name][1]
    value = _mean(results, name, face)
    if value is None:
        return ""
    before = None if base is None else _mean(base, name, face)
    return f"{value:.{digits}f}" + (f" ({value - before:+.{digits}f})" if before is not None else "")


def _mean(results: Mapping[str, Any], name: str, face: bool) -> float | None:
    """Mean over clips of a metric of the avatar, in the whole window or around the face."""
    scores = [r["methods"]["avatar"] for r in results.values()]
    parts = [s["regions"].get("face") for s in scores] if face else scores
    values = [p[name] for p in parts if p is not None]
    return statistics.fmean(values) if values else None


def grid(clips: Sequence[Path], rows: Sequence[str], output: Path, height: int = 180) -> torch.Tensor:
    """Return a line of pictures per row, two frames of each clip; the first line is the truth."""
    from PIL import Image, ImageDraw

    lines = []
    for row in ("truth", *rows):
        cells = []
        for clip in clips:
            sheet = load_png(output / clip.stem / f"{_slug(rows[0] if row == 'truth' else row)}.png")
            count = max(1, round(sheet.shape[0] / _height(output / clip.stem)))
            h, w = sheet.shape[0] // count, sheet.shape[1] // 4
            for k in sorted({count // 3, count - 1}):
                start = 0 if row == "truth" else w
                cell = (sheet[k * h : (k + 1) * h, start : start + w] * 255).to(torch.uint8).numpy()
                cells.append(Image.fromarray(cell).resize((round(w * height / h), height)))
        line = Image.new("RGB", (170 + sum(c.width for c in cells), height), "white")
        ImageDraw.Draw(line).text((6, height // 2), row, fill="black")
        x = 170
        for cell in cells:
            line.paste(cell, (x, 0))
            x += cell.width
        lines.append(torch.frombuffer(bytearray(line.tobytes()), dtype=torch.uint8).reshape(height, line.width, 3))
    return torch.cat(lines).float() / 255


def _height(folder: Path) -> int:
    return int(json.loads((folder / "result.json").read_text())["clip"]["compared_size"][1])


def _slug(row: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("ablations"))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--set", action="append", default=[], help="over the preset, below each row; may be repeated")
    parser.add_argument("--frames", type=int, default=6, help="of each clip that are compared")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for row, results in measure(args.clips, args.rows, args.output, args.preset, args.set, args.frames, args.seed):
        found[row] = results
        write_json(args.output / "ablations.json", {"preset": args.preset, "settings": args.set, "rows": found})
        (args.output / "ablations.md").write_text(table(found), encoding="utf-8")
        save_png(args.output / "ablations.png", grid(args.clips, list(found), args.output))
    print(table(found))


if __name__ == "__main__":
    main()
