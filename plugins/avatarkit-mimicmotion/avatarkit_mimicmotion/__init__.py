"""MimicMotion as a generator of body labels. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import Cost, License, Needs, Register, Weights, hookimpl

_DATA, _BASE_DATA = (
    "videos of dancing people, by its paper; terms not stated",
    "the Large Video Dataset of Stability AI, by its paper; terms not stated",
)

CHECKPOINT = Weights(
    name="mimicmotion-1-1",
    source="huggingface.co/tencent/MimicMotion",
    license="Tencent: academic, research and education only",
    commercial=False,
    repository="tencent/MimicMotion",
    files=("MimicMotion_1-1.pth",),
    size=3_049_867_447,
    single=True,
    data=_DATA,
)
BASE = Weights(
    name="svd-xt-1-1",
    source="huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt-1-1",
    license="Stability AI Community License",
    commercial=None,
    gated=True,
    repository="stabilityai/stable-video-diffusion-img2vid-xt-1-1",
    files=(
        "unet/config.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "image_encoder/config.json",
        "image_encoder/model.fp16.safetensors",
    ),
    size=1_460_000_000,
    data=_BASE_DATA,
    doubt="It came out under a license for non-commercial research, and Stability AI renamed its terms since; read the page.",
)


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Register ``mimicmotion``."""
    register(
        "mimicmotion",
        target="avatarkit_mimicmotion.labeler:MimicMotionLabeler",
        config="avatarkit_mimicmotion.config:MimicMotionConfig",
        summary="body: pose-conditioned video diffusion (the paper's choice); CUDA with 16 GB recommended",
        needs=Needs(
            modules=("diffusers", "transformers", "cv2"),
            weights=(CHECKPOINT.name, BASE.name),
            sources=(CHECKPOINT, BASE),
            costs=(Cost("cuda", "its authors, RTX 4090, 576 x 1024", memory_gb=16, seconds_per_frame=2.3),),
        ),
        extra="mimicmotion",
        revision=2,
        license=License(
            code="Apache-2.0",
            weights="MimicMotion weights: academic, research and education only (Tencent); "
            "Stable Video Diffusion 1.1: Stability AI license, gated",
            commercial=False,
            data=f"MimicMotion: {_DATA}; Stable Video Diffusion: {_BASE_DATA}",
            source="https://huggingface.co/tencent/MimicMotion",
            doubt="Stable Video Diffusion came out for non-commercial research, and its terms were renamed since; read its page.",
        ),
    )
