"""Takes out of a coarse mask of a person what looks like the background beside it.

A network that sees 256 pixels takes walls between fingers and shelves beside legs for the person. Such a pixel looks like the
background right beside it, and like nothing of the person near it (local color classifiers, as in Bai et al., Video SnapCut,
2009).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from avatarkit.utils.threads import cores

__all__ = ["corrected"]

SIDE = 384  # pixels along the longer side in which colors are compared
PERSON, NOT_PERSON = 0.95, 0.05  # probabilities from which pixels show what a side looks like
INSIDE = 0.25  # head heights inside of the mask from which they do: pockets of background are smaller
COLOR = 6.0  # CIELAB units of one standard deviation
REACH = 0.5  # head heights of one standard deviation: how far the look of a side holds
NEAREST = 40  # samples that vote
DOUBT = 2.0  # votes for each side that are always there: where nothing near looks alike, the mask stands
WEIGHT = 2.0  # of the logarithm of the odds of that vote
HAIR = 0.8  # head heights from the middle of the head at which colors begin to tell; from one on they tell all
SURE = 4.0  # most that the mask says


def corrected(
    image: np.ndarray, probability: np.ndarray, sure: np.ndarray, head: float, center: tuple[float, float] | None
) -> np.ndarray:
    """Return a mask (H, W) without what looks like the background beside it, and like nothing of the person near it.

    Args:
        image: (H, W, 3) float32 sRGB 0 to 1.
        probability: (H, W) float32, the mask.
        sure: (H, W) bool, pixels that landmarks put on the person.
        head: height of the head, in pixels.
        center: x, y of the head, around which the mask stands: hair may look like anything.
    """
    scale = min(1.0, SIDE / max(probability.shape))
    size = (max(2, round(probability.shape[1] * scale)), max(2, round(probability.shape[0] * scale)))
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    mask = cv2.resize(probability, size, interpolation=cv2.INTER_AREA)
    known = cv2.resize(sure.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    head = max(1.0, head * scale)
    inside = cv2.distanceTransform(np.pad(mask > 0.5, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    person = known | ((mask > PERSON) & (inside > INSIDE * head))
    other = (mask < NOT_PERSON) & ~known
    if min(person.sum(), other.sum()) < NEAREST:
        return probability
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    features = np.dstack([lab / COLOR, x / (REACH * head), y / (REACH * head)])
    asked = (mask > NOT_PERSON) & ~person
    samples = person | other
    away, voters = cKDTree(features[samples]).query(features[asked], k=NEAREST, eps=0.3, workers=cores())
    weight = np.exp(-0.5 * np.square(away))
    mine = person[samples][voters]
    odds = np.zeros(mask.shape, np.float32)
    odds[asked] = WEIGHT * np.log(((weight * mine).sum(1) + DOUBT) / ((weight * ~mine).sum(1) + DOUBT))
    told = np.log(np.clip(mask, 1e-6, 1 - 1e-6) / np.clip(1 - mask, 1e-6, 1))
    told = np.clip(told, -SURE, SURE)
    if center is not None:
        odds *= np.clip((np.hypot(x - center[0] * scale, y - center[1] * scale) / head - HAIR) / (1 - HAIR), 0, 1)
    odds = np.minimum(odds, 0)  # a flag beside a sleeve looks like the sleeve
    change = cv2.medianBlur((_chance(told + odds) - _chance(told)).astype(np.float32), 5)
    _, pieces = cv2.connectedComponents((mask + change < 0.5).astype(np.uint8), connectivity=4)
    change[~np.isin(pieces, np.unique(pieces[other]))] = 0.0  # a badge on clothes looks like the background, too
    change = cv2.resize(change, probability.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(sure, probability, np.clip(probability + change, 0, 1))


def _chance(odds: np.ndarray) -> np.ndarray:
    """Return the probability whose odds have this logarithm."""
    return 1 / (1 + np.exp(-odds))
