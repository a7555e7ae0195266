"""The style of the stick figures and face crops that Wan-Animate was trained on.

The rules (order, colors, widths, thresholds) are those of the preprocessing that its authors publish.
"""

from __future__ import annotations

import math

import numpy as np

from avatarkit.labelling.pose_maps import PoseStyle

__all__ = ["STYLE", "face_box"]

# Points with a confidence of 0.5 are drawn.
STYLE = PoseStyle(threshold=math.nextafter(0.5, 0.0), between="mean", face=False, feet=True, scaled=True)
FACE_AREA = 1.3  # area of the shown face box over that of the landmarks' box


def face_box(face: np.ndarray, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the part of a frame that is shown to the face network: the landmarks' box with a rim, most of it above.

    Args:
        face: (68, 2) pixels.
        height: of the frame.
        width: of the frame.

    Returns:
        x0, y0, x1, y1, whole pixels inside the frame; None where no face is in the frame.
    """
    face = face[np.isfinite(face).all(-1)]
    if len(face) < 2:
        return None
    (x0, y0), (x1, y1) = face.min(0), face.max(0)
    grow = math.sqrt(FACE_AREA) - 1
    side, part = (x1 - x0) * grow / 2, (y1 - y0) * grow / 4
    left, right = int(max(x0 - side, 0)), int(min(x1 + side, width))
    top, bottom = int(max(y0 - 3 * part, 0)), int(min(y1 + part, height))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None
