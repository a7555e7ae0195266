"""Keypoints and mattes from MediaPipe's networks, whose files this package holds."""

from __future__ import annotations

from avatarkit.hookspecs import License, Needs, Register, hookimpl

LICENSE = License(
    "Apache-2.0",
    "networks of MediaPipe, Apache-2.0, included",
    commercial=True,
    data="photos that Google collected and annotated, by its papers; terms not stated",
    source="https://github.com/google-ai-edge/mediapipe",
    doubt="Its makers do not state the terms of the photos that the networks were trained on.",
)


@hookimpl
def register_keypoint_detectors(register: Register) -> None:
    register(
        "mediapipe",
        target="avatarkit_mediapipe.detector:MediaPipeKeypoints",
        config="avatarkit_mediapipe.config:KeypointConfig",
        summary="33 body, 478 face and 2 x 21 hand landmarks; CPU, nothing to download",
        needs=Needs(modules=("cv2", "numba", "scipy")),
        license=LICENSE,
        revision=6,
    )


@hookimpl
def register_matting_models(register: Register) -> None:
    register(
        "mediapipe",
        target="avatarkit_mediapipe.matting:MediaPipeMatte",
        config="avatarkit_mediapipe.config:MatteConfig",
        summary="selfie segmentation, borders solved by closed-form matting; CPU, nothing to download",
        needs=Needs(modules=("cv2", "numba", "scipy")),
        license=LICENSE,
        revision=4,
    )
