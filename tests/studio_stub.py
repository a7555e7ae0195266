"""A worker of the studio that builds nothing: what the photo's bytes say decides what happens."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def send(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def wait(name: Path) -> None:
    """Wait until a file is there."""
    while not name.exists():
        time.sleep(0.02)


def check(task: dict[str, Any], photo: bytes) -> dict[str, Any]:
    if b"nobody" in photo:
        send(error="No person was found in the photo.", people=0)
        sys.exit()
    if b"crowd" in photo and task["person"] is None:
        send(error="3 people are in the photo; choose with --person N.", people=3)
        sys.exit()
    return {"notes": [f"Person {task['person']}."], "advice": ["Come closer."]}


def build(task: dict[str, Any], photo: bytes) -> dict[str, Any]:
    output, gate = Path(task["output"]), Path(task["photo"]).parents[2] / "go"
    send(stage="tracking")
    send(step="fitting", fraction=0.5)
    send(stage="avatar")
    if b"crash" in photo:
        print("the last words", file=sys.stderr, flush=True)
        os._exit(9)
    if b"slow" in photo:
        wait(gate)
    Path(task["page"]).write_text("<p>page</p>", encoding="utf-8")
    send(shown=True)
    send(stage="preview")
    if b"pictures" in photo:
        wait(gate)
    output.mkdir()
    facts = {
        "consent": task["consent"],
        "recipe": {"name": task["preset"]},
        "warnings": [],
        "metrics": {"psnr_matte": 25.04, "silhouette_iou": None},
    }
    (output / "avatar.safetensors").write_bytes(b"tensors")
    manifest = {"format": "avatarkit-avatar", "files": {"avatar.safetensors": "", "preview.png": ""}, **facts}
    (output / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (output / "preview.png").write_bytes(b"png")
    return {"notes": []}


def main() -> None:
    send(formats=["glb", "web"], sample=__file__)
    line = sys.stdin.readline()
    if not line:
        return
    task = json.loads(line)
    if task["task"] in ("check", "build"):
        send(done={"check": check, "build": build}[task["task"]](task, Path(task["photo"]).read_bytes()))
    elif task["task"] == "page":
        if task.get("video"):
            if b"nobody" in Path(task["video"]).read_bytes():
                send(error="No person was found in the video.")
                return
            Path(task["motions"][0]).write_bytes(b"motion")
        names = [Path(motion).stem for motion in task.get("motions", ())]
        Path(task["page"]).write_text(f"<p>page {names}</p>", encoding="utf-8")
        send(done={"notes": []})
    else:
        Path(task["output"]).write_bytes(task["format"].encode())
        send(done={})


if __name__ == "__main__":
    main()
