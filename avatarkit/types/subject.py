"""A tracked person: the photo with everything that was estimated from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.utils.moved import former_fields

__all__ = ["Matte", "Notice", "Quality", "Subject"]


@dataclass(frozen=True)
class Matte:
    """The matte of a person in a picture.

    Attributes:
        alpha: (H, W) float32, 0 to 1.
        foreground: (H, W, 3) float32 colors without the background (defined everywhere, valid where alpha > 0).
    """

    alpha: torch.Tensor
    foreground: torch.Tensor

    def box(self) -> tuple[int, int, int, int] | None:
        """Return the box x0, y0, x1, y1 of the person in pixels; None if there is none."""
        ys, xs = (self.alpha > 0.5).nonzero(as_tuple=True)
        return (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1) if len(ys) else None


@dataclass(frozen=True)
class Notice:
    """Information for the user about the quality of the result.

    Attributes:
        code: topic, which selects the advice: ``hands, arms, legs, face, size, light, focus, outline, people`` or a code of
            your own.
        text: one sentence.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@former_fields(partly="partially_visible")
@dataclass(frozen=True)
class Quality:
    """Quality of the tracking of a person.

    Attributes:
        metrics: name -> number, e.g. ``face_error_percent_head``, ``mask_iou``, ``head_pixels``.
        visible: part -> whether it was detected: ``face, left_hand, right_hand, left_arm, right_arm, legs, feet``.
        warnings: notices for the user; a plain sentence becomes a notice with the code ``other``.
        partially_visible: hands that no detector found but that show in part; the picture's border or a sleeve hides the rest.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    visible: dict[str, bool] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()
    partially_visible: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        notices = tuple(w if isinstance(w, Notice) else Notice("other", str(w)) for w in self.warnings)
        object.__setattr__(self, "warnings", notices)

    def hidden(self, part: str) -> bool:
        """Return whether something in the picture occludes the part.

        If so, the photo shows something else at the part's fitted position.
        """
        return not self.visible.get(part, True) and part not in self.partially_visible


@dataclass(frozen=True)
class Subject:
    """The photo registered with a body model.

    Attributes:
        photo: the photo (possibly scaled down for processing).
        matte: matte of the photo.
        keypoints: landmarks of the photo.
        params: one frame (beta_S, theta_S, phi_S of the paper).
        camera: camera of the photo.
        vertex_offsets: (V, 3) meters, displacement of the rest mesh beyond the shape space; zero if unused.
        quality: residuals and notices.
    """

    photo: Photo
    matte: Matte
    keypoints: Keypoints
    params: BodyParams
    camera: Camera
    vertex_offsets: torch.Tensor
    quality: Quality
