"""Pseudo-labels from a diffusers pipeline: the moving body, drawn in the photo's colors, is repainted along drawn poses."""

# --8<-- [start:imports]
from dataclasses import dataclass
from typing import Annotated

import torch
from PIL import Image

from avatarkit import License, Needs, Weights, hookimpl
from avatarkit.config.options import Range
from avatarkit.labelling.pipelines import from_hub_or_folder, load_part, move, number_format
from avatarkit.labelling.request import ClipRequest
from avatarkit.labelling.scratch import Scratch, generate_in_tiles

BASE = Weights("sd-1-5", "huggingface.co/stable-diffusion-v1-5", "CreativeML Open RAIL-M", commercial=True,
               repository="stable-diffusion-v1-5/stable-diffusion-v1-5", files=("*.json", "*.txt", "*.safetensors"))  # fmt: skip
POSES = Weights("controlnet-openpose", "huggingface.co/lllyasviel", "CreativeML Open RAIL-M", commercial=True,
                repository="lllyasviel/control_v11p_sd15_openpose", files=("*.json", "*.safetensors"))  # fmt: skip
# --8<-- [end:imports]


# --8<-- [start:config]
@dataclass(frozen=True)
class Config:
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
# --8<-- [end:config]


class Repaint:
    regions = ("body",)

    # --8<-- [start:load]
    def __init__(self, config, context):
        self.config, self.context, self.pipeline = config, context, None

    def load(self):
        from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline

        dtype = number_format("auto", self.context.device)
        self.pipeline = from_hub_or_folder(
            StableDiffusionControlNetImg2ImgPipeline, BASE.name, self.context, dtype=dtype,
            without=("safety_checker", "feature_extractor", "image_encoder"),
            controlnet=load_part(self.context.weights(POSES.name), ControlNetModel, dtype),
        )  # fmt: skip
        move(self.pipeline, self.context.device)

    def close(self):
        self.pipeline = None
    # --8<-- [end:load]

    # --8<-- [start:generate]
    def generate(self, subject, motion, seed):
        if self.pipeline is None:
            self.load()
        config, context = self.config, self.context
        request = ClipRequest.of(context, subject, motion, fps=config.fps, size=(config.size, config.size))
        drawings, poses = request.drawings(), request.pose_maps()

        def make(numbers, seed, shared):
            painted = self.pipeline(
                prompt=[config.prompt] * len(numbers), strength=config.strength, num_inference_steps=config.steps,
                image=[Image.fromarray(drawings[n]) for n in numbers],
                control_image=[Image.fromarray(poses[n]) for n in numbers],
                generator=torch.Generator().manual_seed(seed), output_type="np",
            ).images  # fmt: skip
            return torch.from_numpy((painted * 255).round().astype("uint8"))

        scratch = Scratch.for_clip(context, "repaint", config, seed, drawings, poses, context.weights(BASE.name))
        frames = generate_in_tiles(make, len(request), size=4, seed=seed, scratch=scratch, report=context.progress)
        clip = request.clip(frames)
        scratch.remove()
        return clip
    # --8<-- [end:generate]


# --8<-- [start:hook]
@hookimpl
def register_pseudo_labelers(register):
    needs = Needs(modules=("diffusers", "transformers"), weights=(BASE.name, POSES.name), sources=(BASE, POSES))
    license = License(code="MIT", weights="CreativeML Open RAIL-M", commercial=True)
    register("repaint", target="repaint:Repaint", config="repaint:Config", summary="body: repainted drawings",
             needs=needs, license=license)  # fmt: skip
# --8<-- [end:hook]
