"""Faults of finished avatars in motion: floating parts, streaks and holes, in percent of the person's pixels.

    python benchmarks/motion_faults.py AVATAR... [--json faults.json]

It needs no ground truth. ``avatarkit/testing/motion_faults.py`` defines the figures. For each of them the mean over 34 pictures
is printed and, in brackets, the largest. ``worst`` names the picture to look at: a time of a motion or a view.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import avatarkit
from avatarkit.errors import AvatarkitError
from avatarkit.testing.motion_faults import FAULTS, motion_faults
from avatarkit.utils.files import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", type=Path, nargs="+", metavar="AVATAR")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    found = {}
    print("| avatar | " + " | ".join(FAULTS) + " | worst | seconds |")
    print("|---" * (len(FAULTS) + 3) + "|")
    for path in options.avatars:
        start = time.perf_counter()
        try:
            faults = motion_faults(avatarkit.load(path))
        except AvatarkitError as error:
            sys.exit(str(error))
        seconds = time.perf_counter() - start
        percent = faults.percent()
        cells = [f"{percent[name]:.3f} ({percent[f'{name}_max']:.3f})" for name in FAULTS]
        print(f"| {path.name} | " + " | ".join(cells) + f" | {faults.worst} | {seconds:.0f} |", flush=True)
        found[str(path)] = asdict(faults) | {"percent": percent}
    if options.json:
        write_text(options.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
