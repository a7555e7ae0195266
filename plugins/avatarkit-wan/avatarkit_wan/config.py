"""Options of the generator. Fast to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Machine, Range
from avatarkit.utils.paths import find_weights

__all__ = ["PARTS", "WanConfig", "missing_parts"]

PARTS = ("transformer", "vae", "image_encoder", "text_encoder", "scheduler", "image_processor", "tokenizer")


@dataclass(frozen=True)
class WanConfig:
    """Options of Wan-Animate; the defaults are its authors' settings."""

    weights: Path | None = None
    """Folder of Wan2.2-Animate-14B in the layout of diffusers; none = the one added as ``wan-animate-14b``."""
    short: Annotated[int, Range(16, 4096, "pixels")] = 720
    """Short side of the generated frames in pixels, a multiple of 16."""
    long: Annotated[int, Range(16, 4096, "pixels")] = 1280
    """Long side in pixels, a multiple of 16; the person's shape decides between portrait and landscape."""
    fps: Annotated[float, Range(1, 240, "frames per second")] = 30.0
    """Frames per second to generate; other frames of the motion are skipped."""
    steps: Annotated[int, Range(1, 10_000)] = 20
    """Denoising steps."""
    guidance: Annotated[float, Range(1, 100)] = 1.0
    """Classifier-free guidance; at 1 the unguided pass is skipped, as the authors do."""
    segment: Annotated[int, Range(5, 10_000)] = 77
    """Frames that the network processes at once, 4 n + 1."""
    overlap: Literal["1", "5"] = "1"
    """Frames of the previous segment with which the next one starts."""
    prompt: str = "视频中的人在做动作"
    """Text prompt; the authors use 'the person in the video is moving'."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Confidence of the frames, 0 to 1."""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Number format of the networks; auto = bfloat16 on CUDA, float32 elsewhere."""
    offload: Annotated[Literal["auto", "none", "modules", "layers"], Machine] = "auto"
    """``none`` keeps all networks on the GPU, ``modules`` the active one, ``layers`` one layer; auto = by the free memory."""

    def __post_init__(self) -> None:
        checks = {
            "short and long must be multiples of 16": self.short % 16 == self.long % 16 == 0,
            "short must not be above long": self.short <= self.long,
            "segment must be 4 n + 1, and more than twice the overlap": self.segment > 2 * int(self.overlap)
            and self.segment % 4 == 1,
        }
        for sentence, fine in checks.items():
            if not fine:
                raise ValueError(sentence)

    def preflight(self) -> list[str]:
        """Return one sentence for each missing requirement."""
        folder = self.weights or find_weights("wan-animate-14b")
        if folder is None or not folder.is_dir():
            return ["Its weights are missing: avatarkit weights fetch wan-animate-14b"]
        return missing_parts(folder)


def missing_parts(folder: Path) -> list[str]:
    """Return a sentence if the folder is not that of Wan-Animate."""
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if not missing:
        return []
    return [f"{folder} is not the folder of Wan2.2-Animate in diffusers' layout: it has no {', '.join(missing)}."]
