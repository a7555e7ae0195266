"""Checks of an avatar's tensors before it is played. Avatars are shared, so the file may hold anything."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from avatarkit.interfaces import AvatarModel, BodyModel, Posed, TensorSpec
from avatarkit.storage.serialization import cameras_from_tensors
from avatarkit.storage.stage_cache import StoredTensor
from avatarkit.types.camera import Camera
from avatarkit.validation import Violation, require_posed, require_shapes, require_type, require_values

__all__ = ["playing_specs", "require_header", "require_playable", "require_pose", "require_state"]

SMALLEST_SIDE, LARGEST_SIDE = 16, 8192  # pixels of a photo
_FARTHEST = 1000.0  # meters; cameras and people are meters apart
_LARGEST_ANGLE = 100.0  # radians of an axis-angle; trackers stay below 2 pi
_LARGEST_SHAPE = 100.0  # numbers of a body's shape and expression; models have spreads of about one
_LARGEST_SCALE = 10.0  # meters of a Gaussian
_LARGEST_COLOR = 1000.0  # of 0 to 1, not clamped


def playing_specs(body: BodyModel) -> dict[str, TensorSpec]:
    """Return the tensors of an avatar beside its model's: camera, box and the person as the photo shows them."""

    def within(limit: float, *shape: int) -> TensorSpec:
        return TensorSpec(shape, low=-limit, high=limit)

    return {
        "box": TensorSpec((4,), low=-1.0, high=LARGEST_SIDE + 1.0),
        "camera.K": within(100.0 * LARGEST_SIDE, 1, 3, 3),
        "camera.T_camera_world": within(_FARTHEST, 1, 4, 4),
        "camera.size": TensorSpec((1, 2), torch.int64, SMALLEST_SIDE, LARGEST_SIDE),
        "photo.shape": within(_LARGEST_SHAPE, len(body.shape_names)),
        "photo.expression": within(_LARGEST_SHAPE, len(body.expression_names)),
        "photo.root": within(_LARGEST_ANGLE, 3),
        "photo.translation": within(_FARTHEST, 3),
        "photo.joints": within(_LARGEST_ANGLE, len(body.joint_names), 3),
    }


def _specs(model: AvatarModel) -> dict[str, TensorSpec]:
    """Return what the model says about its tensors, empty if nothing; names as in ``AvatarModel.state``.

    Raises:
        Violation: it says something else.
    """
    specs = dict(model.specs())
    for name, spec in specs.items():
        require_type(spec, TensorSpec, f"specs()[{name!r}]")
    return specs


def _all_specs(body: BodyModel, model: AvatarModel) -> dict[str, TensorSpec]:
    return playing_specs(body) | {f"avatar.{name}": spec for name, spec in _specs(model).items()}


def require_header(header: Mapping[str, StoredTensor], body: BodyModel, model: AvatarModel) -> None:
    """Check that a file with this header holds all tensors that playing needs, in their shapes.

    Raises:
        Violation: it does not; the text names the tensor.
    """
    require_shapes(_all_specs(body, model), {name: (t.dtype, t.shape) for name, t in header.items()})


def require_playable(tensors: Mapping[str, torch.Tensor], body: BodyModel, model: AvatarModel) -> None:
    """Check that the numbers of an avatar are finite and possible; ``require_header`` checks the shapes.

    Raises:
        Violation: they are not; the text names the tensor.
    """
    specs = _all_specs(body, model)
    require_values(specs, {name: t for name, t in tensors.items() if name in specs or name.startswith("avatar.")})
    camera = cameras_from_tensors(tensors, "camera")[0]
    _require_camera(camera)
    x0, y0, x1, y1 = tensors["box"].tolist()
    if not (x0 < x1 <= camera.width + 1 and y0 < y1 <= camera.height + 1):
        told = f"({x0:g}, {y0:g}, {x1:g}, {y1:g})"
        raise Violation(f"the tensor box {told} is not inside a photo of {camera.width} x {camera.height} pixels")


def require_state(state: Mapping[str, torch.Tensor], model: AvatarModel) -> None:
    """Tensors as ``AvatarModel.state`` gives them are what the model says that they must be.

    Raises:
        Violation: they are not; the text names the tensor.
    """
    specs = _specs(model)
    require_shapes(specs, {name: (t.dtype, tuple(t.shape)) for name, t in state.items()})
    require_values(specs, state)


def require_pose(posed: Posed) -> None:
    """Check that an avatar in the pose of its photo can be drawn.

    Raises:
        Violation: it cannot.
    """
    require_posed(posed)
    g = posed.gaussians
    limits = {"means": (-2 * _FARTHEST, 2 * _FARTHEST), "scales": (0.0, _LARGEST_SCALE)}
    limits |= dict.fromkeys(("colors", "sh"), (-_LARGEST_COLOR, _LARGEST_COLOR))
    require_values(
        {name: TensorSpec((), low=low, high=high) for name, (low, high) in limits.items()},
        {name: getattr(g, name).detach() for name in limits if getattr(g, name) is not None},
    )


def _require_camera(camera: Camera) -> None:
    K, T, longest = camera.K, camera.T_camera_world, max(camera.width, camera.height)
    focal, center = K.diagonal()[:2], K[:2, 2]
    if not (bool((focal >= 0.05 * longest).all()) and bool((focal <= 100 * longest).all())):
        raise Violation(f"the tensor camera.K has the focal lengths {focal.tolist()} for {longest} pixels")
    others = torch.stack([K[0, 1], K[1, 0], K[2, 0], K[2, 1], K[2, 2] - 1])
    if bool((center.abs() > 10 * longest).any()) or bool((others.abs() > 1e-3).any()):
        raise Violation("the tensor camera.K is not the matrix of a pinhole camera")
    R, bottom = T[:3, :3], T[3] - torch.tensor([0.0, 0.0, 0.0, 1.0])
    rigid = bool(((R @ R.T - torch.eye(3)).abs() < 1e-3).all()) and float(torch.linalg.det(R)) > 0
    if not rigid or bool((bottom.abs() > 1e-5).any()):
        raise Violation("the tensor camera.T_camera_world is not a rotation and translation")
