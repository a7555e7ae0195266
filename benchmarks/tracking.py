"""How well photos are tracked: a table with a row per photo, and a picture of every fit to look at.

    python benchmarks/tracking.py FOLDER -o report/             every photo of the folder
    python benchmarks/tracking.py FOLDER -o report/ --only p04  those whose name holds a word

Errors are distances between detected and fitted landmarks in percent of the head's height, so they measure the fit and
not the detector; ``iou`` compares the mesh with the matte, with the surface's displacements and, in brackets, without.
Seconds are of processor time, for landmarks, matte and fit. Photos that are refused get a row
with the reason. A small number is no proof: look at the pictures (left: detected green, fitted red; right: the mesh).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.io.photo import read_photo
from avatarkit_exavatar.photo.overlay import overlay

COLUMNS = {
    "face": "face_error_percent_head",
    "left hand": "left_hand_error_percent_head",
    "right hand": "right_hand_error_percent_head",
    "body": "body_error_percent_head",
    "iou": "mask_iou",
    "iou bare": "mask_iou_without_offsets",
}
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".gif"}


def fit_photo(path: Path, components: Components, output: Path) -> dict[str, Any]:
    """Tracks one photo and writes its overlay; the row of the table."""
    row: dict[str, Any] = {"photo": path.name}
    try:
        begin = time.process_time()
        photo = read_photo(path)
        image = (photo.image * 255).round().to(torch.uint8).numpy()
        keypoints = components.get("keypoints").detect(image)
        matte = components.get("matting").matte(photo, keypoints)
        seen = time.process_time()
        subject = components.get("tracker").fit(photo, matte, keypoints)
        row["seconds"] = time.process_time() - begin
        row["seconds_fit"] = time.process_time() - seen
    except InputError as error:
        return row | {"refused": str(error)}
    row |= {name: subject.quality.metrics.get(key) for name, key in COLUMNS.items()}
    row["head_pixels"] = subject.quality.metrics["head_pixels"]
    row["warnings"] = [notice.text for notice in subject.quality.warnings]
    drawn = overlay(
        image, keypoints, subject.params, subject.camera, components.get("body"), components.get("renderer").meshes,
        subject.vertex_offsets,
    )  # fmt: skip
    edge = (matte.alpha > 0.5).numpy()
    outline = edge ^ np.roll(edge, 1, 0) | edge ^ np.roll(edge, 1, 1)
    drawn[:, : image.shape[1]][outline] = (90, 120, 255)
    Image.fromarray(drawn).save(output / f"{path.stem}.png")
    return row


def show(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table of the rows and their medians."""

    def cell(row: dict[str, Any], name: str, digits: int) -> str:
        return "-" if row.get(name) is None else f"{row[name]:.{digits}f}"

    fitted = [r for r in rows if "refused" not in r]
    median: dict[str, Any] = {"photo": "**median**"}
    for name in (*COLUMNS, "seconds"):
        known = [r[name] for r in fitted if r.get(name) is not None]
        median[name] = statistics.median(known) if known else None
    lines = [
        "| photo | head px | face % | left hand % | right hand % | body % | IoU (bare) | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in [*fitted, median]:
        errors = " | ".join(cell(row, name, 2) for name in ("face", "left hand", "right hand", "body"))
        iou = f"{cell(row, 'iou', 3)} ({cell(row, 'iou bare', 3)})"
        lines.append(f"| {row['photo']} | {cell(row, 'head_pixels', 0)} | {errors} | {iou} | {cell(row, 'seconds', 1)} |")
    return "\n".join(lines + [f"\n{r['photo']}: {r['refused']}" for r in rows if "refused" in r])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("tracking-report"))
    parser.add_argument("--only", default="", help="photos whose name holds this")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    components = Components(Recipe.load("standard"))
    rows = []
    for path in sorted(options.folder.iterdir()):
        if path.suffix.lower() in PICTURES and options.only in path.name:
            rows.append(fit_photo(path, components, options.output))
            print(json.dumps(rows[-1]), flush=True)
    (options.output / "tracking.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(show(rows))


if __name__ == "__main__":
    main()
