"""Draws the numbers of ``render.py`` and ``build.py``.

Usage::

    python benchmarks/plot.py --render render.json --build build.json -o docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

NAMES = {"gaussians": "avatarkit-cpu", "torch tiled": "tiled, plain torch", "gsplat torch": "gsplat's torch functions",
         "reference": "every pixel with every Gaussian"}  # fmt: skip


def draw_render(report: dict[str, Any], path: Path) -> None:
    """Milliseconds of forward and backward over Gaussians, one panel per size."""
    rows = [r for r in report["rows"] if r["what"] in NAMES and r["forward"]]
    sizes = list(dict.fromkeys(r["size"] for r in rows))
    figure, panels = plt.subplots(1, len(sizes), figsize=(3.4 * len(sizes) + 1, 3.6), sharey=True, squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for what in dict.fromkeys((r["what"], r["threads"]) for r in rows):
            found = [r for r in rows if (r["what"], r["threads"]) == what and r["size"] == size]
            if found:
                label = NAMES[what[0]] + (f", {what[1]} thread{'s' * (what[1] > 1)}" if what[0] == "gaussians" else "")
                times = [r["forward"][1] + r["backward"][1] for r in found]
                panel.loglog([r["count"] for r in found], times, marker="o", label=label)
        panel.set_title(size)
        panel.set_xlabel("Gaussians")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("ms, picture and derivative")
    panels[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def draw_build(report: dict[str, Any], path: Path) -> None:
    """Seconds per stage and preset; processor time per frame over pixels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    names = list(dict.fromkeys(name for a in report["avatars"] for name in a["stages"]))
    for k, avatar in enumerate(report["avatars"]):
        start = 0.0
        for n, name in enumerate(names):
            seconds = avatar["stages"].get(name, {"seconds": 0})["seconds"]
            left.barh(k, seconds, left=start, color=f"C{n}", label=name if k == 0 else None)
            start += seconds
        by_size = {p["size"]: p["processor_ms"] for p in avatar["playing"]}
        pixels = [int(s.split("x")[0]) * int(s.split("x")[1]) for s in by_size]
        right.plot(pixels, list(by_size.values()), marker="o", label=f"{avatar['preset']}, {avatar['gaussians']} Gaussians")
    left.set_yticks(range(len(report["avatars"])), [a["preset"] for a in report["avatars"]])
    left.set_xlabel("seconds of a build")
    left.legend(frameon=False, fontsize="small")
    right.set_xlabel("pixels of a frame")
    right.set_ylabel("ms of the processor per frame of animate")
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws benchmarks.")
    parser.add_argument("--render", type=Path)
    parser.add_argument("--build", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    if options.render:
        draw_render(json.loads(options.render.read_text()), options.output / "benchmarks-render.png")
    if options.build:
        draw_build(json.loads(options.build.read_text()), options.output / "benchmarks-build.png")


if __name__ == "__main__":
    main()
