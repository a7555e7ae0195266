"""LivePortrait as a generator of head labels. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import Licence, Needs, Register, hookimpl


@hookimpl
def register_pseudo_labelers(register: Register) -> None:
    """Registers ``liveportrait``."""
    register(
        "liveportrait",
        target="avatarkit_liveportrait.labeler:LivePortraitLabeler",
        config="avatarkit_liveportrait.config:LivePortraitConfig",
        summary="head: implicit key points move the photo's face; CUDA with 4 GB recommended",
        needs=Needs(modules=("cv2",), weights=("liveportrait",)),
        licence=Licence(
            code="Apache-2.0",
            weights="LivePortrait networks: MIT (Kuaishou); its face detector (InsightFace, non-commercial) is not used",
            commercial=True,
        ),
    )
