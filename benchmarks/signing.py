"""Measures what signatures cost: milliseconds and bytes per format, and the share of a build.

    python benchmarks/signing.py                    a table of formats
    python benchmarks/signing.py --avatar ada.avatar --build    also an avatar's seal, and a build with and without signing

Writes ``benchmarks/results/signing.json`` and the table ``signing.md`` beside it that docs/trust.md shows.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
from PIL import Image

from avatarkit.io.video_writer import VideoWriter
from avatarkit_provenance.keys import credentials
from avatarkit_provenance.signing import seal_avatar, sign_output
from avatarkit_provenance.verifying import verify

HERE = Path(__file__).parent / "results"
MANIFEST: dict[str, Any] = {"avatarkit": "0.1.0", "recipe": {"name": "draft"}, "inputs": {"photo": "ab" * 32}}
RUNS = 20


def picture(kind: str) -> bytes:
    y, x = np.mgrid[:768, :512]
    pixels = np.stack([x / 2, y / 3, (x + y) / 5 + 20 * np.sin(x / 9)], -1).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def film(folder: Path, seconds: int) -> bytes:
    with VideoWriter(folder / "film.mp4", 512, 768, 30) as video:
        for k in range(30 * seconds):
            y, x = np.mgrid[:768, :512]
            video.write(np.stack([x / 2, y / 3, (x + y + 4 * k) % 256], -1).astype(np.uint8))
    return (folder / "film.mp4").read_bytes()


def median(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    seconds = []
    for _ in range(RUNS):
        before()
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def measured(folder: Path) -> list[dict[str, Any]]:
    things = {
        "picture, PNG, 512 x 768": (".png", picture("PNG")),
        "picture, JPEG, 512 x 768": (".jpg", picture("JPEG")),
        "film, MP4, 5 s": (".mp4", film(folder, 5)),
        "export, 20 MB beside its signature": (".glb", os.urandom(20_000_000)),
    }
    rows = []
    for name, (suffix, data) in things.items():
        path = folder / f"a{suffix}"
        beside: list[Any] = []
        sign = median(
            lambda p=path, b=beside: b.append(sign_output(str(p), str(p), MANIFEST, {})),  # type: ignore[misc]
            lambda p=path, d=data: p.write_bytes(d),  # type: ignore[misc]
        )
        for written, content in (beside[-1] or {}).items():
            (folder / written).write_bytes(content)
        files = [path, *folder.glob(f"{path.name}.c2pa")]
        found = verify(path)
        assert found.state == "intact", found
        more = sum(f.stat().st_size for f in files) - len(data)
        check = median(lambda p=path: verify(p))  # type: ignore[misc]
        rows.append({"what": name, "bytes": len(data), "sign_ms": sign, "verify_ms": check, "more": more})
    return rows


def build(folder: Path, *options: str) -> float:
    """Return the processor seconds of a build from the start."""
    command = [sys.executable, "-m", "avatarkit_cli", "build", "--sample", "portrait", "--preset", "instant", "--fresh"]
    before = os.times()
    subprocess.run([*command, "-o", "a.avatar", *options], cwd=folder, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", type=Path, help="an avatar whose seal is measured")
    parser.add_argument("--build", action="store_true", help="also build the sample with and without signing, twice each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("AVATARKIT_CACHE", str(folder / "cache"))
        signer = credentials({})
        result: dict[str, Any] = {
            "c2pa": c2pa.sdk_version(), "python": platform.python_version(), "cores": os.cpu_count(), "rows": measured(folder),
        }  # fmt: skip
        if given.avatar:
            shutil.copytree(given.avatar, folder / "b.avatar", ignore=shutil.ignore_patterns("cache"))
            result["seal_ms"] = median(lambda: seal_avatar(folder / "b.avatar", signer))
        if given.build:
            pairs = [(build(folder), build(folder, "--no-sign")) for _ in range(2)]
            result["build_seconds"] = {"signed": [p[0] for p in pairs], "not_signed": [p[1] for p in pairs]}
    (HERE / "signing.json").write_text(json.dumps(result, indent=2) + "\n")
    lines = ["| what | size | signing | verifying | more bytes |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        size = f"{row['bytes'] / 1e6:.2f} MB"
        lines.append(f"| {row['what']} | {size} | {row['sign_ms']:.0f} ms | {row['verify_ms']:.0f} ms | {row['more']:,} |")
    (HERE / "signing.md").write_text("\n".join(lines) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
