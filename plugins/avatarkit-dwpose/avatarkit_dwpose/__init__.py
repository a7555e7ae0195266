"""DWPose's whole-body keypoints. Hook implementations only."""

from __future__ import annotations

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_keypoint_detectors(register: Register) -> None:
    """Register ``dwpose``."""
    register(
        "dwpose",
        target="avatarkit_dwpose.detector:DwposeKeypoints",
        config="avatarkit_dwpose.config:DwposeConfig",
        summary="133 points of the whole body by DWPose's ONNX files, the paper's choice; a companion lends its face mesh",
        needs=Needs(modules=("onnxruntime", "cv2"), weights=("dwpose-yolox-l", "dwpose-ucoco-384")),
        extra="dwpose",
        license=License(
            weights="DWPose's yolox_l.onnx and dw-ll_ucoco_384.onnx (hub yzd-v/DWPose): Apache-2.0",
            commercial=None,
            data="COCO-WholeBody and UBody, whose own terms are for research",
            source="https://github.com/IDEA-Research/DWPose",
            doubt="The weights are called Apache-2.0; whether the terms of their data reach them is not settled.",
        ),
    )
