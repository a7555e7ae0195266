"""Wan-Animate as a generator of body labels. Hook implementations only."""

from __future__ import annotations

from pathlib import Path

from avatarkit.hookspecs import Cost, License, Needs, Register, Weights, hookimpl

WEIGHTS = Weights(
    name="wan-animate-14b",
    source="huggingface.co/Wan-AI/Wan2.2-Animate-14B-Diffusers",
    license="Apache-2.0 (Alibaba)",
    commercial=True,
    repository="Wan-AI/Wan2.2-Animate-14B-Diffusers",
    files=(
        *("model_index.json", "image_encoder/*", "image_processor/*", "scheduler/*", "text_encoder/*"),
        *("tokenizer/*", "transformer/*", "vae/*"),
    ),
    size=82_300_000_000,
    data="not stated",
)


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Register ``wan``."""
    register(
        "wan",
        target="avatarkit_wan.labeler:WanLabeler",
        config="avatarkit_wan.config:WanConfig",
        revision=2,
        summary="body: Wan-Animate, a permissive and ungated video diffusion model; CUDA with 48 GB recommended",
        needs=Needs(
            modules=("diffusers", "transformers", "accelerate", "ftfy", "cv2"),
            weights=(WEIGHTS.name,),
            sources=(WEIGHTS,),
            # The transformer's 15.2 billion parameters in bfloat16, and activations. Time unknown: its authors do not state one.
            costs=(Cost("cuda", "from the size of its networks", memory_gb=40),),
        ),
        extra="wan",
        license=License(
            code="Apache-2.0",
            weights="Wan2.2-Animate-14B: Apache-2.0 (Alibaba)",
            commercial=True,
            data="not stated",
            source="https://huggingface.co/Wan-AI/Wan2.2-Animate-14B",
            doubt="Its authors do not state the terms of the videos that it was trained on.",
        ),
    )


@hookimpl
def cached_files(folder: str) -> dict[str, str]:
    return {str(path): "prompts of Wan-Animate" for path in Path(folder, "wan").glob("prompt-*.safetensors")}
