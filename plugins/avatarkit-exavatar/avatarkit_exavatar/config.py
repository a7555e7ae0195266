"""Options of the tracker."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExAvatarConfig"]


@dataclass(frozen=True)
class ExAvatarConfig:
    """Options of the tracker ``exavatar``. Weights are relative to each other; angles in radians."""

    pose_iterations: int = 25
    """Steps that find where the person stands and how the limbs lie."""

    shape_iterations: int = 6
    """Steps between two looks at the silhouette."""

    shape_rounds: int = 4
    """Looks at the silhouette while the general build is found."""

    detail_rounds: int = 3
    """Looks at the silhouette while every shape number is free."""

    silhouette_pixels: int = 288
    """Longer side of the picture in which silhouettes are compared."""

    silhouette_points: int = 300
    """Points of the mesh's silhouette that are compared with the matte's border."""

    face_weight: float = 8000.0
    """Squared face error, in head heights."""

    eye_gap_weight: float = 1500.0
    """Squared error of the openings of eyes and lips, in head heights."""

    body_weight: float = 0.04
    """Squared error of each body or hand landmark, in units of how well it is known."""

    direction_weight: float = 0.5
    """Squared difference of a limb's direction from the detector's rough 3D, which finds the pose. Once that is roughly right
    it counts in full along the view in videos, where many frames agree on it, and a fifth of it otherwise."""

    silhouette_weight: float = 150.0
    """Mean squared distance between silhouettes, in head heights."""

    silhouette_inside: float = 0.4
    """How much of it counts where the body is inside the matte: clothes and hair are not the body."""

    pose_weight: float = 0.02
    """Squared angle from the relaxed pose, in units of its spread."""

    root_weight: float = 0.3
    """Squared lean of the whole body away from upright, in units of its spread."""

    shape_weight: float = 0.04
    """Squared shape number, in units of its spread."""

    expression_weight: float = 0.5
    """Squared facial action."""

    expression_sparsity: float = 0.1
    """Facial action; keeps most of them at zero."""

    clearance_weight: float = 1.0
    """Squared depth of an arm inside the trunk, in centimetres."""

    offsets: bool = True
    """Whether the surface is fitted to the matte where hair and clothes stand off the body."""

    offset_limit: float = 0.1
    """Largest displacement of the surface in metres."""

    video_iterations: int = 10
    """Steps per frame of a video, starting from the frame before."""

    retrack_iterations: int = 4
    """Steps per frame of a clip whose pose is roughly known."""

    lean_weight: float = 25.0
    """In videos: squared difference of the trunk's direction, from hips to shoulders, from the detector's rough
    3D. That is right to a sixth of a radian: too little for a photo, enough where many frames agree."""

    carried_rounds: int = 2
    """In clips of somebody whose photo is known: how often a frame is compared with the photo, carried along by the body."""

    carried_weight: float = 8000.0
    """Mean squared distance between the photo's texture on the body and where the frame shows it, in head heights."""

    smoothing_rounds: int = 2
    """Joint improvements of all frames of a window with the penalty on acceleration."""

    smoothing_window: int = 96
    """Frames that are smoothed together."""

    body_cutoff: float = 3.5
    """Hertz: half of a movement of the body at this frequency is taken for noise."""

    arm_cutoff: float = 7.0
    """The same for arms whose hands are seen."""

    hand_cutoff: float = 8.0
    """The same for fingers."""

    face_cutoff: float = 7.0
    """The same for facial actions; blinks and speech are fast."""

    fast_gesture: float = 8.0
    """Radians per second squared, after smoothing, from which a joint is let go: noise has less, waving hands have more."""

    shape_frames: int = 3
    """Frames of a video of a stranger whose shape is that with which all are tracked."""

    shared_frames: int = 12
    """Frames that then tell the shape together."""
