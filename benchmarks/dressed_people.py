"""Avatars of synthetic dressed people against the truth in other poses and views: decibels per person and view.

    python benchmarks/dressed_people.py -o report/                       preset instant, exact matte and landmarks
    python benchmarks/dressed_people.py -o report/ --preset draft
    python benchmarks/dressed_people.py -o report/ --detect              matte and landmarks by the preset's own components

``avatarkit/testing/dressed.py`` makes the people and their pictures. ``PSNR`` is over the person's pixels in the truth; truth and
avatar are laid on gray. ``shown`` is over those pixels whose surface the photo shows, ``hidden`` over the others, and ``share``
is how many are shown. ``IoU`` compares silhouettes. The row ``photo`` is the photo's own pose. The folder gets the table, its
figures as JSON, and a contact sheet of each person with the truth above the avatar.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import AvatarkitError
from avatarkit.io.image import save_png
from avatarkit.testing.dressed import PEOPLE, PHOTO, VIEWS, DressedPerson, build_dressed, score
from avatarkit.testing.truth import truth_registry
from avatarkit.utils.files import disk_errors, write_text

FIGURES = {"psnr": "PSNR", "shown": "shown", "hidden": "hidden", "share": "share", "iou": "IoU"}


def measured(people: list[str], output: Path, preset: str, detect: bool) -> list[dict[str, Any]]:
    """Build the avatars, write the contact sheets and return the rows of the table."""
    registry, rows = truth_registry(), []
    components = Components(Recipe.load(preset), registry, "cpu")
    for name in people:
        start = time.perf_counter()
        with torch.no_grad():
            person = DressedPerson(name, components.get("body"), components.get("renderer").meshes)
        avatar = build_dressed(person, output / name, registry, preset, detect)
        seconds, sheet = time.perf_counter() - start, []
        for view, how in {"photo": PHOTO, **VIEWS}.items():
            with torch.no_grad():
                found = score(person, avatar, how)
            rows.append({"person": name, "view": view} | {figure: getattr(found, figure) for figure in FIGURES})
            sheet.append(torch.cat(found.pictures.chunk(2, 1), 0))
        save_png(output / f"{name}.png", torch.cat(sheet, 1))
        print(f"{name}: built in {seconds:.0f} s, {output / name}.png", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| person | view | " + " | ".join(FIGURES.values()) + " |", "|---" * (2 + len(FIGURES)) + "|"]
    for row in rows:
        cells = [f"{row[figure]:.{3 if figure == 'iou' else 2}f}" for figure in FIGURES]
        lines.append(f"| {row['person']} | {row['view']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", nargs="+", choices=PEOPLE, default=list(PEOPLE))
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--detect", action="store_true", help="let the preset's components find matte and landmarks")
    parser.add_argument("-o", "--output", type=Path, default=Path("dressed-report"))
    options = parser.parse_args()
    try:
        with disk_errors(options.output):
            options.output.mkdir(parents=True, exist_ok=True)
        rows = measured(options.people, options.output, options.preset, options.detect)
        write_text(options.output / "figures.json", json.dumps(rows, indent=2) + "\n")
        write_text(options.output / "table.md", table(rows) + "\n")
    except AvatarkitError as error:
        sys.exit(str(error))
    print(table(rows))


if __name__ == "__main__":
    main()
