"""Options of the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine, Range
from avatarkit.errors import ConfigError

__all__ = ["DwposeConfig"]


@dataclass(frozen=True)
class DwposeConfig:
    """Options of ``dwpose``."""

    people: Annotated[str, Machine] = ""
    """File of the person detector (yolox_l.onnx); empty = the weights dwpose-yolox-l."""
    points: Annotated[str, Machine] = ""
    """File of the keypoint network (dw-ll_ucoco_384.onnx); empty = the weights dwpose-ucoco-384."""
    companion: str = "mediapipe"
    """Another detector for the dense face mesh, irises and rough depth; empty = DWPose alone, without a face mesh."""
    score: Annotated[float, Range(0, 0.999)] = 0.3
    """Confidence below which a point is ignored (DWPose's own threshold)."""

    def __post_init__(self) -> None:
        if self.companion == "dwpose":
            raise ConfigError("keypoints.companion is 'dwpose' itself; name another detector, or none.")
