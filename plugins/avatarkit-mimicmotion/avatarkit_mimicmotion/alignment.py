"""The style of the pose maps that the network was trained on, and their alignment with the person in the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatarkit.errors import InputError
from avatarkit.labelling.pose_maps import PoseStyle, body_points

__all__ = ["STYLE", "fit_alignment"]

STYLE = PoseStyle(fade=True, canvas=2160)
"""DWPose's drawing as MimicMotion changed it."""

# Points by which a sequence is aligned with the reference: head, shoulders, trunk and legs, never elbows and wrists.
ALIGNED = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)


def fit_alignment(
    points: np.ndarray, scores: np.ndarray, frames: Sequence[np.ndarray], aspect: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift (2,) from a sequence of poses to the reference person.

    Args:
        points: (133, 2) of the reference person.
        scores: (133,).
        frames: (n, 133, 2) people of each frame; those with one person count.
        aspect: of the coordinates of both: scale down the picture over scale across it.

    Raises:
        InputError: too little is seen in both.
    """
    body, score = body_points(points, scores, STYLE)
    seen = [i for i in ALIGNED if score[i] > STYLE.threshold]
    single = [body_points(people[0], np.ones(people.shape[1]), STYLE)[0][seen] for people in frames if len(people) == 1]
    if len(seen) < 2 or not single:
        raise InputError("The poses cannot be aligned with the photo: too little of one person is seen in both.")
    source = np.concatenate(single)
    target = np.concatenate([body[seen]] * len(single))
    scale_y, shift_y = np.polyfit(source[:, 1], target[:, 1], 1)
    scale_x = scale_y / aspect
    shift_x = float(np.mean(target[:, 0] - source[:, 0] * scale_x))
    return np.array([scale_x, scale_y]), np.array([shift_x, shift_y])
