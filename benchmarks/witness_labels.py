"""Labels that are the truth: frames of a clip of the person, as a plugin of one file.

    avatarkit build ada.png --plugin benchmarks/witness_labels.py --body-labels witness --set body_labels.video=ada.mp4

What labels are worth that know more than the photo, reprojected ones do not tell, and a diffusion model can be run only with
its weights and a GPU. These frames show what a perfect generator would: the person's own hands, sleeves and sides. They are
tracked again, as any generator's are; an ablation on the same clip shows what that is worth at best.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatarkit.errors import ConfigError
from avatarkit.hookspecs import Register, hookimpl
from avatarkit.interfaces import Context, Subject
from avatarkit.io.video import read_frames
from avatarkit.labelling.frames import cut_out
from avatarkit.metrics import resized
from avatarkit.types.body import Motion
from avatarkit.types.pseudo_labels import LabelClip


@dataclass(frozen=True)
class WitnessConfig:
    """Options of ``witness``."""

    video: str = ""
    """The clip that the photo is a frame of."""
    frames: int = 16
    """Frames of it, spread evenly; each lies in the middle of its part of the clip."""
    longest: int = 300
    """Frames of the clip that count."""
    height: int = 512
    """Pixels, longer side."""


class WitnessLabeler:
    """``PseudoLabeler`` of body clips; see the module."""

    exact = False

    def __init__(self, config: WitnessConfig, context: Context) -> None:
        if not config.video:
            raise ConfigError("witness needs the clip: --set body_labels.video=FILE")
        self.config, self.context = config, context

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """Frames of the clip, said to be in the photo's pose: where the person really is, tracking finds."""
        config = self.config
        images = [image for _, image in read_frames(Path(config.video), max_side=max(subject.photo.image.shape[:2]))]
        images = images[: config.longest]
        chosen = ((np.arange(config.frames) + 0.5) / config.frames * len(images)).astype(int)
        camera = subject.camera.scaled_to(config.height)
        shrunk = [resized(torch.from_numpy(images[k]).float() / 255, camera.width, camera.height) for k in chosen]
        frames = (torch.stack(shrunk) * 255).round().to(torch.uint8)
        cut = cut_out(frames, self.context.get("matting"), "witness", 1.0, self.context.progress)
        still = subject.params.batched()[torch.zeros(len(frames), dtype=torch.int64)]
        cameras = (camera,) * len(frames)
        return LabelClip("witness", "body", cut.colors, cut.alpha, cut.confidence, still, still, cameras)


_HERE = __name__ if __name__ != "__main__" else "witness_labels"


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    register(
        "witness",
        target=f"{_HERE}:WitnessLabeler",
        config=f"{_HERE}:WitnessConfig",
        summary="frames of a clip of the person as body labels, to measure what a perfect generator would bring",
    )
