"""Options of the generator. Fast to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Range
from avatarkit.utils.paths import find_weights

__all__ = ["FILES", "VECTORS_FILE", "LivePortraitConfig", "find_file"]

FILES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
VECTORS_FILE = "stitching_retargeting_module"
# The authors' folder layout, and the flat layout of copies.
_FOLDERS = ("base_models", "retargeting_models", "liveportrait/base_models", "liveportrait/retargeting_models", ".")


def find_file(folder: Path, stem: str) -> Path | None:
    """Return the path of a checkpoint below a folder of weights, in either layout."""
    places = (folder / place / f"{stem}{suffix}" for place in _FOLDERS for suffix in (".safetensors", ".pth"))
    return next((path for path in places if path.is_file()), None)


@dataclass(frozen=True)
class LivePortraitConfig:
    """Options of LivePortrait; the defaults are its authors' settings."""

    weights: Path | None = None
    """Folder of the released weights; none = the folder added as ``liveportrait``."""
    fps: Annotated[float, Range(1, 240)] = 15.0
    """Frames per second to generate; other frames of the motion are skipped."""
    size: Annotated[int, Range(64, 4096)] = 512
    """Width and height of the frames in pixels."""
    region: Literal["all", "exp", "pose", "lip", "eyes"] = "all"
    """Part that the motion moves: all, the expression, the head's rotation, lips or eyes only."""
    relative: bool = True
    """Apply the changes since the photo instead of the driving head's absolute pose."""
    multiplier: Annotated[float, Range(0, 100)] = 1.0
    """Scale of the motion: above 1 exaggerates it, below 1 damps it."""
    stitching: bool = True
    """Keep neck and shoulders as in the photo."""
    close_lips: bool = False
    """Close the mouth of the photo first."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Confidence of the frames, 0 to 1."""
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Number format of the networks; auto = float16 on CUDA, float32 elsewhere. Some GPUs need float32."""

    def preflight(self) -> list[str]:
        """Return one sentence for each missing requirement."""
        folder = self.weights or find_weights("liveportrait")
        if folder is None or not folder.is_dir():
            return ["Its weights are missing: avatarkit weights fetch liveportrait"]
        return [
            f"The folder of LivePortrait's weights {folder} has no {stem}.pth and no {stem}.safetensors."
            for stem in (*FILES, VECTORS_FILE)
            if find_file(folder, stem) is None
        ]
