"""MimicMotion as a generator of body labels. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import Licence, Needs, Register, hookimpl


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Registers ``mimicmotion``."""
    register(
        "mimicmotion",
        target="avatarkit_mimicmotion.labeler:MimicMotionLabeler",
        config="avatarkit_mimicmotion.config:MimicMotionConfig",
        summary="body: pose-conditioned video diffusion (the paper's choice); CUDA with 16 GB recommended",
        needs=Needs(
            modules=("diffusers", "transformers", "cv2"),
            weights=("mimicmotion-1-1", "svd-xt-1-1"),
        ),
        extra="mimicmotion",
        licence=Licence(
            code="Apache-2.0",
            weights="MimicMotion weights: academic, research and education only (Tencent); "
            "Stable Video Diffusion 1.1: Stability AI licence, gated",
            commercial=False,
        ),
    )
