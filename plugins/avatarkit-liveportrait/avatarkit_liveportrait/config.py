"""Options of the generator. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Range
from avatarkit.utils.paths import find_weights

__all__ = ["FILES", "VECTORS_FILE", "LivePortraitConfig", "find_file"]

FILES = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
VECTORS_FILE = "stitching_retargeting_module"
# As the authors lay the files out, and flat, as others copy them.
_FOLDERS = ("base_models", "retargeting_models", "liveportrait/base_models", "liveportrait/retargeting_models", ".")


def find_file(folder: Path, stem: str) -> Path | None:
    """A checkpoint below a folder of weights, wherever people put it."""
    places = (folder / place / f"{stem}{suffix}" for place in _FOLDERS for suffix in (".safetensors", ".pth"))
    return next((path for path in places if path.is_file()), None)


@dataclass(frozen=True)
class LivePortraitConfig:
    """Options of LivePortrait; defaults are the settings that its authors ship."""

    weights: Path | None = None
    """Folder of the released weights; none = the folder added as ``liveportrait``."""
    fps: Annotated[float, Range(1, 240)] = 15.0
    """Frames per second that are generated from a motion; frames between are skipped."""
    size: Annotated[int, Range(64, 4096)] = 512
    """Width and height of the frames in pixels."""
    region: Literal["all", "exp", "pose", "lip", "eyes"] = "all"
    """What the motion moves: all, the expression, the head's turn, lips or eyes alone."""
    relative: bool = True
    """Take over changes since the photo, instead of the driving head's pose as it is."""
    multiplier: Annotated[float, Range(0, 100)] = 1.0
    """Exaggerates (above 1) or damps the motion."""
    stitching: bool = True
    """Keep neck and shoulders where the photo has them."""
    close_lips: bool = False
    """Close the mouth of the photo before it is driven."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Trust in the frames, 0 to 1, written into the clip."""
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Number format of the networks; auto = float16 on CUDA, float32 elsewhere. Some GPUs need float32."""

    def preflight(self) -> list[str]:
        """What is missing before a build may start, a sentence for each."""
        folder = self.weights or find_weights("liveportrait")
        if folder is None or not folder.is_dir():
            return ["It needs the folder of its weights: avatarkit weights fetch liveportrait"]
        return [
            f"The folder of LivePortrait's weights {folder} has no {stem}.pth and no {stem}.safetensors."
            for stem in (*FILES, VECTORS_FILE)
            if find_file(folder, stem) is None
        ]
