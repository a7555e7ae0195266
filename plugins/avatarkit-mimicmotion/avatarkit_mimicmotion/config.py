"""Options of the generator. Fast to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from avatarkit.config.options import Machine, Range
from avatarkit.utils.paths import find_weights

__all__ = ["MimicMotionConfig"]


@dataclass(frozen=True)
class MimicMotionConfig:
    """Options of MimicMotion; the defaults are its authors' settings for version 1.1."""

    checkpoint: Path | None = None
    """File of the released weights (.pth or .safetensors); none = the file added as ``mimicmotion-1-1``."""
    base: Path | None = None
    """Folder of Stable Video Diffusion 1.1 (vae, image_encoder, ...); none = the one added as ``svd-xt-1-1``."""
    pose_net: Path | None = None
    """File of the pose network if ``checkpoint`` contains only the video network; none = it contains both."""
    resolution: Annotated[int, Range(64, 4096, "pixels")] = 576
    """Short side of the generated frames in pixels, a multiple of 64; the long side follows, near 16:9."""
    framing: Literal["person", "cover"] = "person"
    """``person`` uses a window around the whole person, ``cover`` the center of the photo, as the authors do."""
    fps: Annotated[float, Range(1, 240, "frames per second")] = 15.0
    """Frames per second to generate; other frames of the motion are skipped."""
    steps: Annotated[int, Range(2, 10_000)] = 25
    """Denoising steps."""
    guidance_min: Annotated[float, Range(0, 100)] = 2.0
    """Classifier-free guidance of the first frame."""
    guidance_max: Annotated[float, Range(0, 100)] = 2.0
    """Classifier-free guidance of the last frame; at 1 and below the unguided pass is skipped."""
    tile_size: Annotated[int, Range(2, 10_000)] = 72
    """Frames that the network processes at once: 72 for version 1.1 of the weights, 16 for version 1."""
    tile_overlap: Annotated[int, Range(1, 10_000)] = 6
    """Frames that neighboring tiles share, including the reference frame."""
    noise_aug_strength: Annotated[float, Range(0, 100)] = 0.0
    """Noise added to the reference picture before it is encoded."""
    motion_bucket: Annotated[int, Range(0, 10_000)] = 127
    """Motion amount, a conditioning input of the video network."""
    decode_chunk: Annotated[int, Range(1, 10_000)] = 8
    """Frames decoded at once; affects the frames slightly and the memory a lot."""
    rescale: bool = True
    """Align the drawn poses with the landmarks detected in the photo."""
    confidence: Annotated[float, Range(0, 1)] = 1.0
    """Confidence of the frames, 0 to 1."""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Number format of the networks; auto = float16 on CUDA, float32 elsewhere."""
    offload: Annotated[Literal["auto", "none", "modules"], Machine] = "auto"
    """``none`` keeps all networks on the GPU, ``modules`` only the active one; auto = by the free memory."""

    def __post_init__(self) -> None:
        checks = {
            "resolution must be a multiple of 64": self.resolution % 64 == 0,
            "guidance_min must not be above guidance_max": self.guidance_min <= self.guidance_max,
            "tile_overlap must be below tile_size": self.tile_overlap < self.tile_size,
        }
        for sentence, fine in checks.items():
            if not fine:
                raise ValueError(sentence)

    def preflight(self) -> list[str]:
        """Return one sentence for each missing requirement."""
        missing = [
            f"There is no file {path}." for path in (self.checkpoint, self.pose_net) if path is not None and not path.is_file()
        ]
        base = self.base or find_weights("svd-xt-1-1")
        if base is None or not base.is_dir():
            return [*missing, "The weights of Stable Video Diffusion XT 1.1 are missing: avatarkit weights fetch svd-xt-1-1"]
        for part, stem in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
            files = [base / part / f"{stem}{suffix}.safetensors" for suffix in (".fp16", "")]
            if not (base / part / "config.json").is_file():
                missing.append(f"The base model is incomplete: there is no {base / part / 'config.json'}.")
            elif not any(file.is_file() for file in files):
                missing.append(f"The base model is incomplete: there is no {files[0]}.")
        return missing
