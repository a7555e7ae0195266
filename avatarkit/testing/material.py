"""Test material for components: a synthetic person, or a photo and the components of a recipe."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from avatarkit.config import SLOTS, require_slot
from avatarkit.interfaces import PROTOCOLS, BodyModel, Context, GetComponent, Renderer, with_defaults
from avatarkit.io.photo import read_photo
from avatarkit.testing.method import (
    TinyAvatar,
    TinyAvatarConfig,
    TinyDetector,
    TinyLabeler,
    TinyLabelerConfig,
    TinyMatting,
    TinyMotions,
    TinyRgb,
    TinyTracker,
    TinyTrackerConfig,
)
from avatarkit.testing.tiny import ReferenceRenderer, TinyBody, tiny_motion, tiny_subject
from avatarkit.types.body import Motion
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Subject

if TYPE_CHECKING:
    from avatarkit.components import Components

__all__ = ["Material", "PhotoMaterial"]

_TINY: dict[str, tuple[Any, Any]] = {
    "body": (TinyBody, None),
    "renderer": (ReferenceRenderer, None),
    "matting": (TinyMatting, None),
    "keypoints": (TinyDetector, None),
    "tracker": (TinyTracker, TinyTrackerConfig()),
    "motions": (TinyMotions, None),
    "body_labels": (TinyLabeler, TinyLabelerConfig()),
    "head_labels": (TinyLabeler, TinyLabelerConfig("head")),
    "avatar": (TinyAvatar, TinyAvatarConfig()),
    "perceptual": (TinyRgb, None),
}


class Material:
    """The tiny person, and a context whose slots contain tiny components.

    Args:
        cache: folder for components that keep tables; None = the user's.
        size: size of the picture in pixels.
        slots: components that replace tiny ones.

    Attributes:
        context: context for new components.
    """

    def __init__(self, cache: Path | None = None, size: int = 64, **slots: Any) -> None:
        self.size, self._made = size, dict(slots)
        context = replace(Context(), get=cast(GetComponent, self.get))
        self.context = context if cache is None else replace(context, cache=cache)

    def get(self, slot: str, name: str | None = None) -> Any:
        """Return the component in a slot; ``name`` is ignored, there is one of each."""
        if slot not in self._made:
            require_slot(slot)
            cls, config = _TINY[slot]
            self._made[slot] = with_defaults(cls(config, self.context), PROTOCOLS[SLOTS.get(slot, slot)])
        return self._made[slot]

    def put(self, slot: str, component: Any) -> None:
        """Replace a tiny component by ``component``."""
        self._made[slot] = with_defaults(component, PROTOCOLS[SLOTS.get(slot, slot)])

    @property
    def handed(self) -> dict[str, Any]:
        """What components are given: subject and motion, and what else was made so far."""
        self._prepare()
        names = ("photo", "keypoints", "matte", "subject", "motion", "clip")
        return {name: vars(self)[name] for name in names if name in vars(self)}

    def _prepare(self) -> None:
        """Make what every check may hand over."""
        _ = self.subject, self.motion

    @property
    def body(self) -> BodyModel:
        """The body model."""
        return self.get("body")

    @property
    def renderer(self) -> Renderer:
        """The renderer."""
        return self.get("renderer")

    @cached_property
    def subject(self) -> Subject:
        """The tracked person."""
        return tiny_subject(self.context, self.size)

    @property
    def photo(self) -> Photo:
        """The person's photo."""
        return self.subject.photo

    @property
    def keypoints(self) -> Keypoints:
        """Landmarks in the photo."""
        return self.subject.keypoints

    @property
    def matte(self) -> Matte:
        """Matte of the photo."""
        return self.subject.matte

    @cached_property
    def motion(self) -> Motion:
        """A short motion for the body model, relative, see ``Motion``."""
        return tiny_motion(self.body, frames=3)

    @cached_property
    def clip(self) -> LabelClip:
        """A clip of pseudo-labels."""
        return self.get("body_labels").generate(self.subject, self.motion, 0)


class PhotoMaterial(Material):
    """A photo of a person, processed by the components of a recipe.

    Each step runs on first use.

    Args:
        components: components of the recipe.
        photo: file of the photo.
    """

    def __init__(self, components: Components, photo: Path) -> None:
        super().__init__()
        self._components, self._path = components, photo
        self.context = replace(components.context, get=cast(GetComponent, self.get))

    def get(self, slot: str, name: str | None = None) -> Any:
        """Return the component in a slot of the recipe, or another one by name."""
        return self._components.get(slot, name)

    def _prepare(self) -> None:
        """Make the photo alone: the rest takes long and is made when a check needs it."""
        _ = self.photo

    @cached_property
    def photo(self) -> Photo:
        """The photo, at most 512 pixels large."""
        return read_photo(self._path, max_side=512)

    @cached_property
    def keypoints(self) -> Keypoints:
        """Landmarks in the photo."""
        return self.get("keypoints").detect(self.photo.to_uint8())

    @cached_property
    def matte(self) -> Matte:
        """Matte of the photo."""
        return self.get("matting").matte(self.photo, self.keypoints)

    @cached_property
    def subject(self) -> Subject:
        """The tracked person."""
        return self.get("tracker").fit(self.photo, self.matte, self.keypoints)

    @cached_property
    def motion(self) -> Motion:
        """The first three frames of the first motion of the recipe's source."""
        source = self.get("motions")
        motion = next(iter(source.motions(1, 0)))
        return replace(motion, params=motion.params[:3], valid=None if motion.valid is None else motion.valid[:3])
