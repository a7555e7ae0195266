"""A tracked person: the photo with everything that was found in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo

__all__ = ["Matte", "Notice", "Quality", "Subject"]


@dataclass(frozen=True)
class Matte:
    """A person cut out of a picture.

    Attributes:
        alpha: (H, W) float32, 0 to 1.
        foreground: (H, W, 3) float32 colours with the background removed (defined everywhere, meant where alpha > 0).
    """

    alpha: torch.Tensor
    foreground: torch.Tensor


@dataclass(frozen=True)
class Notice:
    """Something that the user should know about the result.

    Attributes:
        code: what it is about, by which advice is chosen: ``hands, arms, legs, face, size, light, focus, outline, people`` or
            one of your own.
        text: one sentence.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Quality:
    """How well a person was tracked.

    Attributes:
        metrics: name -> number, e.g. ``face_error_percent_head``, ``mask_iou``, ``head_pixels``.
        visible: part -> whether it was seen: ``face, left_hand, right_hand, left_arm, right_arm, legs, feet``.
        warnings: what the user should know; a plain sentence counts as a notice with the code ``other``.
        partly: hands that no detector found, but of which something shows, since the picture or a sleeve ends there.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    visible: dict[str, bool] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()
    partly: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        notices = tuple(w if isinstance(w, Notice) else Notice("other", str(w)) for w in self.warnings)
        object.__setattr__(self, "warnings", notices)

    def hidden(self, part: str) -> bool:
        """Whether something in the picture covers the part: where the fit puts it, the photo shows something else."""
        return not self.visible.get(part, True) and part not in self.partly


@dataclass(frozen=True)
class Subject:
    """The photo registered with a body model.

    Attributes:
        photo: the photo (possibly scaled down for work).
        matte: of the photo.
        keypoints: of the photo.
        params: one frame (beta_S, theta_S, phi_S of the paper).
        camera: of the photo.
        vertex_offsets: (V, 3) metres, displacement of the rest mesh that the shape space cannot reach; zero where unused.
        quality: residuals and notes.
    """

    photo: Photo
    matte: Matte
    keypoints: Keypoints
    params: BodyParams
    camera: Camera
    vertex_offsets: torch.Tensor
    quality: Quality
