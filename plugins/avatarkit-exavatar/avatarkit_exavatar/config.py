"""Options of the tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Formerly, Range

__all__ = ["ExAvatarConfig"]


@dataclass(frozen=True)
class ExAvatarConfig:
    """Options of the tracker ``exavatar``. Weights are relative to each other; angles in radians."""

    pose_iterations: Annotated[int, Range(1, 10_000)] = 25
    """Steps that find where the person stands and how the limbs lie."""

    shape_iterations: Annotated[int, Range(1, 10_000)] = 6
    """Steps between two looks at the silhouette."""

    shape_rounds: Annotated[int, Range(0, 1000)] = 4
    """Looks at the silhouette while the general build is found."""

    detail_rounds: Annotated[int, Range(0, 1000)] = 3
    """Looks at the silhouette while every shape number is free."""

    silhouette_pixels: Annotated[int, Range(32, 4096)] = 288
    """Longer side of the picture in which silhouettes are compared."""

    silhouette_points: Annotated[int, Range(10, 100_000)] = 300
    """Points of the mesh's silhouette that are compared with the matte's border."""

    face_weight: Annotated[float, Range(0, 1e9)] = 8000.0
    """Squared face error, in head heights."""

    eye_gap_weight: Annotated[float, Range(0, 1e9)] = 1500.0
    """Squared error of the openings of eyes and lips, in head heights."""

    body_weight: Annotated[float, Range(0, 1e9)] = 0.04
    """Squared error of each body or hand landmark, in units of how well it is known."""

    direction_weight: Annotated[float, Range(0, 1e9)] = 0.5
    """Squared difference of a limb's direction from the detector's rough 3D, which finds the pose. Once that is roughly right
    it counts in full along the view in videos, where many frames agree on it, and a fifth of it otherwise."""

    silhouette_weight: Annotated[float, Range(0, 1e9)] = 150.0
    """Mean squared distance between silhouettes, in head heights."""

    silhouette_inside: Annotated[float, Range(0, 1)] = 0.4
    """How much of it counts where the body is inside the matte: clothes and hair are not the body."""

    pose_weight: Annotated[float, Range(0, 1e9)] = 0.02
    """Squared angle from the relaxed pose, in units of its spread."""

    root_weight: Annotated[float, Range(0, 1e9)] = 0.3
    """Squared lean of the whole body away from upright, in units of its spread."""

    shape_weight: Annotated[float, Range(0, 1e9)] = 0.04
    """Squared shape number, in units of its spread."""

    expression_weight: Annotated[float, Range(0, 1e9)] = 0.5
    """Squared facial action."""

    expression_sparsity: Annotated[float, Range(0, 1e9)] = 0.1
    """Facial action; keeps most of them at zero."""

    clearance_weight: Annotated[float, Range(0, 1e9)] = 1.0
    """Squared depth of an arm inside the trunk, in centimeters."""

    offsets: bool = True
    """Whether the surface is fitted to the matte where hair and clothes stand off the body."""

    offset_limit: Annotated[float, Range(0, 10)] = 0.1
    """Largest displacement of the surface in meters."""

    video_iterations: Annotated[int, Range(1, 10_000)] = 10
    """Steps per frame of a video, starting from the frame before."""

    retrack_iterations: Annotated[int, Range(1, 10_000)] = 4
    """Steps per frame of a clip whose pose is roughly known."""

    lean_weight: Annotated[float, Range(0, 1e9)] = 25.0
    """In videos: squared difference between the trunk's direction, from hips to shoulders, and the detector's rough
    3D. That is accurate to a sixth of a radian: too little for a photo, enough where many frames agree."""

    texture_rounds: Annotated[int, Range(0, 1000), Formerly("carried_rounds")] = 2
    """In clips of a person whose photo is known: how often a frame is compared with the photo's texture on the moving body."""

    texture_weight: Annotated[float, Range(0, 1e9), Formerly("carried_weight")] = 8000.0
    """Mean squared distance between the photo's texture on the body and where the frame shows it, in head heights."""

    smoothing_rounds: Annotated[int, Range(0, 1000)] = 2
    """Joint improvements of all frames of a window with the penalty on acceleration."""

    smoothing_window: Annotated[int, Range(4, 10_000)] = 96
    """Frames that are smoothed together."""

    body_cutoff: Annotated[float, Range(0.01, 1000)] = 3.5
    """Hertz: half of a movement of the body at this frequency is treated as noise."""

    arm_cutoff: Annotated[float, Range(0.01, 1000)] = 7.0
    """The same for arms with visible hands."""

    hand_cutoff: Annotated[float, Range(0.01, 1000)] = 8.0
    """The same for fingers."""

    face_cutoff: Annotated[float, Range(0.01, 1000)] = 7.0
    """The same for facial actions; blinks and speech are fast."""

    fast_gesture: Annotated[float, Range(0, 1e6)] = 8.0
    """Radians per second squared, after smoothing, from which a joint is smoothed less: above noise, below waving hands."""

    shape_frames: Annotated[int, Range(1, 1000)] = 3
    """In videos of an unknown person: frames that give the shape with which all frames are tracked."""

    shared_frames: Annotated[int, Range(1, 1000)] = 12
    """Frames that then refine the shape together."""
