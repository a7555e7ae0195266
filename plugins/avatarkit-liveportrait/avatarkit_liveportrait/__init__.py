"""LivePortrait as a generator of head labels. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import Cost, License, Needs, Register, Weights, hookimpl

_DATA = "VoxCeleb, MEAD, RAVDESS (CC BY-NC-SA 4.0), AAHQ and videos of its authors, by its paper"

WEIGHTS = Weights(
    name="liveportrait",
    source="huggingface.co/KwaiVGI/LivePortrait",
    license="MIT (Kuaishou)",
    commercial=True,
    repository="KwaiVGI/LivePortrait",
    files=("liveportrait/base_models/*.pth", "liveportrait/retargeting_models/*.pth"),
    strip="liveportrait/",
    size=500_000_000,
    data=_DATA,
)


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Register ``liveportrait``."""
    register(
        "liveportrait",
        target="avatarkit_liveportrait.labeler:LivePortraitLabeler",
        config="avatarkit_liveportrait.config:LivePortraitConfig",
        revision=2,
        summary="head: implicit key points move the photo's face; CUDA with 4 GB recommended",
        needs=Needs(
            modules=("cv2",),
            weights=(WEIGHTS.name,),
            sources=(WEIGHTS,),
            costs=(
                Cost("cuda", "its authors and users, RTX 4090", memory_gb=4, seconds_per_frame=0.014),
                Cost("cpu", "measured, two shared cores", memory_gb=1.9, seconds_per_frame=25.0),
            ),
        ),
        license=License(
            code="Apache-2.0",
            weights="LivePortrait networks: MIT (Kuaishou); its face detector (InsightFace, non-commercial) is not used",
            commercial=True,
            data=_DATA,
            source="https://github.com/KwaiVGI/LivePortrait/issues/193",
            doubt="Whether the terms of the videos that it was trained on reach the weights is not settled.",
        ),
    )
