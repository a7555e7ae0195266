"""Faults that show when an avatar moves, measured without any ground truth.

An avatar is drawn on a transparent background, in frames of built-in motions from the front and in the photo's pose from other
sides. Each picture is compared with the silhouette of the avatar's own posed mesh. All figures are shares of the person's
pixels, which are those of opacity above 0.4:

- ``detached``: pixels off the mesh in connected parts other than the largest, unless such a part touches the picture's edge.
  Hair and cloth that tear off and float beside the person.
- ``stray``: pixels farther from the mesh than 10 % of the head's height. Streaks, and cloth that is dragged along by an arm.
- ``holes``: pixels inside the mesh, at least 2 pixels from its outline and 3 from the picture's edge, of opacity below 0.9.
  Cracks and transparent patches.

The photo's own view has hair and wide clothes off the mesh, too. ``detached`` and ``stray`` of that view are therefore subtracted
from every other picture's; ``holes`` are counted in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from avatarkit.animation import LoadedAvatar, place
from avatarkit.rendering import render_posed
from avatarkit.types.body import BodyParams
from avatarkit.utils.threads import single_threaded

__all__ = ["FAULTS", "FrameFaults", "MotionFaults", "frame_faults", "motion_faults"]

FAULTS = ("detached", "stray", "holes")
"""Names of the figures."""

HEIGHT = 448  # pixels of the pictures: a head of 100 pixels, so that 10 % of it is far above a pixel
MOTIONS = ("talk", "wave", "count")  # together they raise both arms, cross the trunk and turn the hands
FRAMES = 10  # of each motion, evenly spread
YAWS = (-30.0, -15.0, 15.0, 30.0)  # degrees that the camera turns around the photo's pose

_PERSON = 0.4  # opacity above which a pixel is the person: what an eye sees on any background
_SOLID = 0.9  # opacity below which a pixel inside the person is a hole: a tenth of the background shows through
_FAR = 0.10  # of the head's height, distance from the mesh that hair and clothes of the photo seldom exceed
_OUTLINE = 2  # pixels inside the outline that antialiasing may leave transparent
_EDGE = 3  # pixels at the picture's edge, where the mesh goes on and the splats are cut
_LEAST_FAR = 2  # pixels, for pictures in which the head is tiny
_LEAST_HEAD = 6.0  # pixels of the head's height where the body model has no head part
_TOUCHING = np.ones((3, 3), bool)  # pixels that meet at a corner belong together


@dataclass(frozen=True)
class FrameFaults:
    """The figures of one picture, each a share of the person's pixels, from 0.

    Attributes:
        detached: floating off the mesh.
        stray: far from the mesh.
        holes: transparent inside the mesh.
    """

    detached: float
    stray: float
    holes: float


@dataclass(frozen=True)
class MotionFaults:
    """The figures of an avatar in motion.

    Attributes:
        mean: over all pictures, without what the photo's own view has.
        largest: the largest of each figure over all pictures.
        photo: of the photo's own view, in full.
        worst: the picture with the largest sum of ``detached`` and ``stray``, as ``talk@6.60`` (seconds) or ``yaw-30``.
        pictures: how many were drawn besides the photo's view.
    """

    mean: FrameFaults
    largest: FrameFaults
    photo: FrameFaults
    worst: str
    pictures: int

    def percent(self) -> dict[str, float]:
        """Mean and largest figures in percent of the person's pixels: ``detached``, ``detached_max``, and so on."""
        out = {}
        for name in FAULTS:
            out[name] = 100 * float(getattr(self.mean, name))
            out[f"{name}_max"] = 100 * float(getattr(self.largest, name))
        return out


def frame_faults(alpha: np.ndarray, mesh: np.ndarray, far: int) -> FrameFaults:
    """Measures one picture.

    Args:
        alpha: (H, W) opacity of the drawn avatar, 0 to 1.
        mesh: (H, W) bool, pixels that the posed mesh covers.
        far: pixels from the mesh up to which hair and clothes may reach.

    Returns:
        Shares of the person's pixels; zero where nothing is drawn, except for ``holes`` of an avatar that is missing altogether.
    """
    person = alpha > _PERSON
    count = max(1, int(person.sum()))
    parts, found = ndimage.label(person, _TOUCHING)
    whole = [0]
    if found:
        at_edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
        whole = [*np.unique(at_edge).tolist(), largest]
    detached = person & ~np.isin(parts, whole) & ~mesh
    stray = person & ~ndimage.binary_dilation(mesh, iterations=max(1, far))
    inside = ndimage.binary_erosion(mesh, iterations=_OUTLINE)
    inside[:_EDGE], inside[-_EDGE:], inside[:, :_EDGE], inside[:, -_EDGE:] = False, False, False, False
    holes = inside & (alpha < _SOLID)
    return FrameFaults(*(float(pixels.sum()) / count for pixels in (detached, stray, holes)))


@single_threaded()
def motion_faults(
    avatar: LoadedAvatar,
    motions: Sequence[str] = MOTIONS,
    frames: int = FRAMES,
    yaws: Sequence[float] = YAWS,
    height: int = HEIGHT,
) -> MotionFaults:
    """Measures an avatar in motion.

    Args:
        avatar: as ``avatarkit.load`` gives it.
        motions: names of its source of motions; names that it does not know are left out.
        frames: how many of each motion.
        yaws: degrees, views of the photo's pose.
        height: of the pictures, pixels.

    Raises:
        ValueError: there is nothing to draw: no known motion and no view.
    """
    size = max(2, round(height * avatar.default_size()[0] / avatar.default_size()[1])), height
    far = max(_LEAST_FAR, round(_FAR * _head_pixels(avatar, size)))

    def measured(params: BodyParams, yaw: float) -> FrameFaults:
        return frame_faults(*_drawn(avatar, params, yaw, size), far)

    photo = measured(avatar.photo_params, 0.0)
    names, rows = [], []
    for name, params, yaw in _pictures(avatar, motions, frames, yaws):
        found = measured(params, yaw)
        names.append(name)
        rows.append((max(0.0, found.detached - photo.detached), max(0.0, found.stray - photo.stray), found.holes))
    if not rows:
        raise ValueError("motion_faults needs a motion that the avatar's recipe knows, or a view")
    table = np.array(rows)
    worst = names[int((table[:, 0] + table[:, 1]).argmax())]
    mean, largest = (FrameFaults(*map(float, values)) for values in (table.mean(0), table.max(0)))
    return MotionFaults(mean, largest, photo, worst, len(rows))


def _pictures(
    avatar: LoadedAvatar, motions: Sequence[str], frames: int, yaws: Sequence[float]
) -> Iterator[tuple[str, BodyParams, float]]:
    """Name, pose and view of each picture."""
    source = avatar.components.get("motions")
    known = source.names()
    for name in motions:
        if name not in known:
            continue
        motion = source.motion(name)
        world = place(motion, avatar.photo_params, avatar.body)
        for number in np.linspace(0, len(motion) - 1, frames).astype(int).tolist():
            yield f"{name}@{number / motion.fps:.2f}", world[number], 0.0
    for yaw in yaws:
        yield f"yaw{yaw:g}", avatar.photo_params, yaw


def _drawn(avatar: LoadedAvatar, params: BodyParams, yaw: float, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Opacity (H, W) of the avatar and what its posed mesh covers, (H, W) bool."""
    camera = avatar.camera(size, yaw)
    with torch.no_grad():
        posed = avatar.model.pose(params)
        alpha = render_posed(avatar.renderer, posed, camera, torch.zeros(3)).alpha
        if posed.mesh is None:
            raise ValueError("motion_faults needs an avatar with a mesh")
        covered = avatar.renderer.meshes.render(posed.mesh, camera).face_index >= 0
    return alpha.cpu().numpy(), covered.cpu().numpy()


def _head_pixels(avatar: LoadedAvatar, size: tuple[int, int]) -> float:
    """Height of the head in the photo's view."""
    head = avatar.body.part("head") > 0.5
    with torch.no_grad():
        mesh = avatar.model.pose(avatar.photo_params).mesh
    if mesh is None or not head.any():
        return _LEAST_HEAD
    rows = avatar.camera(size).project(mesh.vertices)[head, 1]
    return max(_LEAST_HEAD, float(rows.max() - rows.min()))
