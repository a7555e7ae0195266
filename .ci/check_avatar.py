"""Looks at what ``avatarkit build --json`` printed and wrote; exits loudly where something is not as promised."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image
from safetensors import safe_open

built = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
folder = Path(built["avatar"])
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
report = (folder / "report.html").read_text(encoding="utf-8")
preview = np.asarray(Image.open(folder / "preview.png").convert("L"), np.float32)
with av.open(str(folder / "preview.mp4")) as video:
    frames = [frame.to_ndarray(format="gray").astype(np.float32) for frame in video.decode(video=0)]
with safe_open(str(folder / "avatar.safetensors"), "np") as tensors:
    names = list(tensors.keys())
    finite = all(np.isfinite(tensors.get_tensor(name)).all() for name in names)

checks = {
    "the manifest is what was printed": built["manifest"] == manifest,
    "the manifest tells how it was built": {
        "format", "format_version", "avatarkit", "components", "recipe", "seed", "device", "inputs", "stages",
        "metrics", "licences", "consent",
    } <= set(manifest),
    "consent is kept": manifest["consent"] == "Public-domain portrait.",
    "the photo is there as a hash only": len(manifest["inputs"]["photo"]) == 64 and not list(folder.glob("photo.*")),
    "every stage has its seconds and memory": all(
        stage["seconds"] >= 0 and stage["peak_memory_mb"] > 0 for stage in manifest["stages"].values()
    ),
    "every component has a licence": {c["name"] for c in manifest["components"].values()} <= set(manifest["licences"]),
    "no path of this disk is in it": str(Path.cwd()) not in json.dumps(manifest) + report,
    "the tensors are numbers": bool(names) and finite,
    "the pictures show something": preview.std() > 10,
    "the film moves": len(frames) > 10 and max(float(abs(f - frames[0]).mean()) for f in frames) > 0.5,
    "the report needs no network": not re.search(r"(?:src|href)\s*=\s*[\"']https?:", report),
    "nothing is left beside it": sorted(p.name for p in Path().iterdir()) == sorted([sys.argv[1], folder.name]),
}  # fmt: skip
failed = [name for name, fine in checks.items() if not fine]
for name in checks:
    print(("no   " if name in failed else "yes  ") + name)
print("metrics:", json.dumps(manifest["metrics"]))
sys.exit(1 if failed else 0)
