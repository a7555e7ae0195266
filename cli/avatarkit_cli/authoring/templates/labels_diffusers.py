"""A generator of pseudo-labels from a diffusers pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from avatarkit_example import BASE
from PIL import Image

from avatarkit import Context, LabelClip, Motion, Subject
from avatarkit.config.options import Range
from avatarkit.labelling.pipelines import from_hub_or_folder, move, number_format
from avatarkit.labelling.request import ClipRequest
from avatarkit.labelling.scratch import Scratch, generate_in_tiles


@dataclass(frozen=True)
class Config:
    """Options of the generator."""

    prompt: str = "a photo of a person"
    """What the frames show."""
    strength: Annotated[float, Range(0, 1)] = 0.4
    """Share of the drawing that is painted anew."""
    steps: Annotated[int, Range(1, 1000)] = 20
    """Denoising steps."""
    size: Annotated[int, Range(64, 2048)] = 512
    """Side of the frames in pixels, a multiple of 64."""
    fps: Annotated[float, Range(1, 60)] = 5.0
    """Frames per second; other frames of the motion are skipped."""


class Example:
    """Draws the fitted body in the photo's colors in each requested pose, and lets Stable Diffusion paint over it.

    ``request.pose_maps()`` and ``request.maps("depth")`` draw what a ControlNet wants.
    """

    regions = ("body",)

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.context = config, context
        self.pipeline: Any = None

    def load(self) -> None:
        from diffusers import StableDiffusionImg2ImgPipeline

        self.pipeline = from_hub_or_folder(
            StableDiffusionImg2ImgPipeline, BASE.name, self.context, dtype=number_format("auto", self.context.device),
            without=("safety_checker", "feature_extractor", "image_encoder"),
        )  # fmt: skip
        move(self.pipeline, self.context.device)

    def close(self) -> None:
        self.pipeline = None

    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        if self.pipeline is None:
            self.load()
        config, context = self.config, self.context
        request = ClipRequest.of(context, subject, motion, fps=config.fps, size=(config.size, config.size))
        drawings = request.drawings()

        def make(numbers: range, seed: int, shared: torch.Tensor | None) -> torch.Tensor:
            painted = self.pipeline(
                prompt=[config.prompt] * len(numbers), strength=config.strength, num_inference_steps=config.steps,
                image=[Image.fromarray(drawings[n]) for n in numbers],
                generator=torch.Generator().manual_seed(seed), output_type="np",
            ).images  # fmt: skip
            return torch.from_numpy((painted * 255).round().astype("uint8"))

        scratch = Scratch.for_clip(context, "example", config, seed, drawings, context.weights(BASE.name))
        frames = generate_in_tiles(make, len(request), size=4, seed=seed, scratch=scratch, report=context.progress)
        clip = request.clip(frames)
        scratch.remove()
        return clip
