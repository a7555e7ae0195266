"""What the points of landmark sets stand for, by the name of the set.

Detectors, body models and everything that looks at a photo through landmarks agree on these sets by their names. Code that needs
an eye or a cheek asks for the region (``Keypoints.region``) and works with any detector whose set has it. Numbers that change
here move results of ``appearance`` and ``labelling``: raise their ``REVISION``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LAYOUTS", "LandmarkLayout"]

Parts = tuple[tuple[int, float], ...]
"""Points of a set and their shares in one point of another set."""


@dataclass(frozen=True)
class LandmarkLayout:
    """What the points of one set stand for.

    Attributes:
        regions: name -> numbers of points. ``right_eye``, ``left_eye`` and ``inner_lips`` go around an opening, in order;
            ``bare_face`` is on cheeks and nose, where hair hardly ever grows; ``left_hand`` and ``right_hand`` are the wrist,
            then four points of each finger from its root to its tip, thumb first. ``outline`` is where the face ends, which
            depends on the view; ``upper_rims`` and ``lower_rims`` are pairs of points of lids and lips that open;
            ``mouth_rim`` is top, bottom, right and left end. Of a body, ``left_elbow`` and the like are single joints, and
            ``left_knuckles`` are those of pinky, index and thumb.
        coco133: number of a COCO-WholeBody point -> the points of the set that make it.
    """

    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    coco133: Mapping[int, Parts] = field(default_factory=dict)


def _each(targets: range, points: tuple[int, ...]) -> dict[int, Parts]:
    """Map each target to one point."""
    return {target: ((point, 1.0),) for target, point in zip(targets, points, strict=True)}


# The 68 points of COCO's face are those of the iBUG annotation: jaw from the person's right ear to the left one, brows (right
# first), bridge and base of the nose, eyes, outer and inner border of the lips.
_FACE68 = (
    *((162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389), (71, 63, 105, 66, 107)),
    *((336, 296, 334, 293, 301), (168, 197, 5, 4), (75, 97, 2, 326, 305), (33, 160, 158, 133, 153, 144)),
    *((362, 385, 387, 263, 373, 380), (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)),
    (78, 82, 13, 312, 308, 317, 14, 87),
)

_FACE478 = LandmarkLayout(
    regions={
        "right_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        "left_eye": (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
        "inner_lips": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
        "bare_face": (
            *(50, 101, 36, 205, 187, 123, 117, 118, 119, 147, 280, 330, 266, 425, 411, 352, 346, 347, 348, 376),
            *(4, 5, 195, 197, 6),
        ),
        "outline": (
            *(10, 21, 54, 58, 67, 93, 103, 109, 127, 132, 136, 148, 149, 150, 152, 162, 172, 176, 234, 251, 284, 288, 297, 323),
            *(332, 338, 356, 361, 365, 377, 378, 379, 389, 397, 400, 454),
        ),
        "outer_lips": (0, 37, 39, 40, 185, 61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267),
        "irises": (468, 473),
        "iris_rings": (469, 470, 471, 472, 474, 475, 476, 477),
        "upper_rims": (159, 158, 160, 386, 385, 387, 13, 82, 312, 81, 311),
        "lower_rims": (145, 153, 144, 374, 380, 373, 14, 87, 317, 178, 402),
        "mouth_rim": (0, 17, 61, 291),
        "mouth_middle": (13, 14),
    },
    coco133=_each(range(23, 91), tuple(point for group in _FACE68 for point in group))
    # The tip of the nose lies between two points. Eyes are the middle of their corners, which blinks and gaze do not move.
    | {0: ((4, 0.4), (1, 0.6)), 1: ((362, 0.5), (263, 0.5)), 2: ((33, 0.5), (133, 0.5))},
)
_LEFT = {"shoulder": (11,), "elbow": (13,), "wrist": (15,), "knuckles": (17, 19, 21), "hip": (23,), "knee": (25,), "ankle": (27,)}
_POSE33 = LandmarkLayout(
    regions={"head": tuple(range(11))}
    | {
        f"{side}_{part}": tuple(number + right for number in numbers)  # each point of the right side follows its twin
        for part, numbers in (_LEFT | {"heel": (29,), "toes": (31,)}).items()
        for right, side in enumerate(("left", "right"))
    },
    coco133=_each(range(5), (0, 2, 5, 7, 8))  # nose, eyes, ears
    | _each(range(5, 17), (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28))  # shoulders to ankles, left before right
    | _each(range(17, 23), (31, 31, 29, 32, 32, 30)),  # big and small toe, heel; the set has one point for the toes
)
LAYOUTS: Mapping[str, LandmarkLayout] = {
    "face478": _FACE478,  # the face mesh of MediaPipe, with irises
    "hand21_left": LandmarkLayout({"left_hand": tuple(range(21))}, _each(range(91, 112), tuple(range(21)))),
    "hand21_right": LandmarkLayout({"right_hand": tuple(range(21))}, _each(range(112, 133), tuple(range(21)))),
    "pose33": _POSE33,  # the body of MediaPipe
}
