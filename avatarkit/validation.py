"""Checks of the values that pass between plugins and the core, as the interfaces promise them.

The pipeline checks each value once, as it comes out of a plugin, so that a message names the owner of a fault.
``avatarkit.testing`` uses the same checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from avatarkit.interfaces import BodyModel, ParameterGroup, Posed, TensorSpec
from avatarkit.types.body import BodyParams, Motion
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, MeshTexture
from avatarkit.types.photo import Photo
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Matte, Subject

__all__ = [
    "Violation",
    "require_camera",
    "require_clip",
    "require_groups",
    "require_keypoints",
    "require_loss",
    "require_matte",
    "require_motion",
    "require_params",
    "require_posed",
    "require_shapes",
    "require_subject",
    "require_tensor",
    "require_tensors",
    "require_type",
    "require_values",
]


class Violation(Exception):
    """A value is not what its interface promises; the text says what is wrong with it."""


def require_type(value: Any, cls: type, what: str) -> None:
    """``value`` is a ``cls``."""
    if not isinstance(value, cls):
        raise Violation(f"{what} is of the type {type(value).__name__}, not {cls.__name__}")


def require_tensor(
    value: Any,
    shape: Sequence[int | str],
    what: str,
    dtype: torch.dtype = torch.float32,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """``value`` is a tensor of ``shape`` (letters match any number) and ``dtype`` with finite values in ``low`` to ``high``."""
    require_type(value, torch.Tensor, what)
    wanted = _shape_text(shape)
    fits = value.ndim == len(shape) and all(isinstance(n, str) or n == m for n, m in zip(shape, value.shape, strict=True))
    if not fits:
        raise Violation(f"{what} has the shape {tuple(value.shape)}, not {wanted}")
    if value.dtype != dtype:
        raise Violation(f"{what} is of the type {value.dtype}, not {dtype}")
    values = value.detach()
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise Violation(f"{what} holds numbers that are not finite")
    for limit, wrong in ((low, low is not None and values < low - 1e-5), (high, high is not None and values > high + 1e-5)):
        if isinstance(wrong, torch.Tensor) and bool(wrong.any()):
            raise Violation(f"{what} holds values from {float(values.min()):.3g} to {float(values.max()):.3g}, beyond {limit:g}")


def _shape_text(shape: Sequence[int | str]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _require_array(value: Any, shape: Sequence[int | str], what: str) -> None:
    require_type(value, np.ndarray, what)
    require_tensor(torch.from_numpy(np.ascontiguousarray(value)), shape, what)


def require_matte(value: Any, photo: Photo) -> None:
    """Check that a value is a ``Matte`` of the photo's size."""
    require_type(value, Matte, "the matte")
    size = (photo.height, photo.width)
    require_tensor(value.alpha, size, "alpha", low=0, high=1)
    require_tensor(value.foreground, (*size, 3), "foreground", low=0, high=1)


def require_keypoints(value: Any, width: int, height: int) -> None:
    """``Keypoints`` of a picture of that size, points and scores in step."""
    require_type(value, Keypoints, "what was detected")
    if (value.width, value.height) != (width, height):
        raise Violation(f"the keypoints are of a picture of {value.width} x {value.height}, not of {width} x {height} pixels")
    if not value.points:
        raise Violation("the keypoints hold no set of points")
    if set(value.points) != set(value.scores):
        raise Violation(f"points are of the sets {sorted(value.points)}, scores of {sorted(value.scores)}")
    for name, points in value.points.items():
        _require_array(points, ("n", 2), f"points[{name!r}]")
        _require_array(value.scores[name], (len(points),), f"scores[{name!r}]")
        if value.scores[name].size and not (value.scores[name].min() >= -1e-5 and value.scores[name].max() <= 1 + 1e-5):
            raise Violation(f"scores[{name!r}] are not within 0 to 1")
        if name in value.points_3d:
            _require_array(value.points_3d[name], (len(points), 3), f"points_3d[{name!r}]")
    if len(value.box) != 4 or not all(np.isfinite(value.box)):
        raise Violation(f"the box {value.box} is not x0, y0, x1, y1")


def require_params(value: Any, body: BodyModel, batch: Sequence[int | str], what: str = "the parameters") -> None:
    """``BodyParams`` of ``body``; ``batch`` is () for one frame and ("T",) for a motion."""
    require_type(value, BodyParams, what)
    if value.model != body.name:
        raise Violation(f"{what} are for the body model {value.model!r}, not for {body.name!r}")
    require_tensor(value.shape, (len(body.shape_names),), f"shape of {what}")
    require_tensor(value.root, (*batch, 3), f"root of {what}")
    batch = value.batch_shape
    require_tensor(value.expression, (*batch, len(body.expression_names)), f"expression of {what}")
    require_tensor(value.translation, (*batch, 3), f"translation of {what}")
    require_tensor(value.joints, (*batch, len(body.joint_names), 3), f"joints of {what}")


def require_camera(value: Any, what: str = "the camera") -> None:
    """Check that a value is a ``Camera`` that sees something."""
    require_type(value, Camera, what)
    require_tensor(value.K, (3, 3), f"K of {what}")
    require_tensor(value.T_camera_world, (4, 4), f"T_camera_world of {what}")
    if min(value.width, value.height) < 1 or min(float(value.K[0, 0]), float(value.K[1, 1])) <= 0:
        raise Violation(f"{what} has no picture or no focal length")


def require_subject(value: Any, photo: Photo, body: BodyModel) -> None:
    """Check that a value is a ``Subject`` whose parts fit each other, the photo and the body model."""
    require_type(value, Subject, "the subject")
    require_params(value.params, body, (), "the subject's parameters")
    require_camera(value.camera)
    if (value.camera.width, value.camera.height) != (value.photo.width, value.photo.height):
        raise Violation(
            f"the camera is {value.camera.width} x {value.camera.height}, the photo "
            f"{value.photo.width} x {value.photo.height} pixels"
        )
    require_matte(value.matte, value.photo)
    require_tensor(value.vertex_offsets, (len(body.skinning_weights), 3), "vertex_offsets")


def require_motion(value: Any, body: BodyModel) -> None:
    """Check that a value is a ``Motion`` of at least one frame for ``body``."""
    require_type(value, Motion, "the motion")
    require_params(value.params, body, ("T",), f"motion {value.name!r}")
    if not len(value) or not value.fps > 0:
        raise Violation(f"motion {value.name!r} has {len(value)} frames at {value.fps:g} per second")
    if value.valid is not None:
        require_tensor(value.valid, (len(value),), f"valid of motion {value.name!r}", torch.bool)


def require_clip(value: Any, body: BodyModel, region: str | None = None) -> None:
    """Check that a value is a ``LabelClip`` whose frames, mattes, parameters and cameras belong together."""
    require_type(value, LabelClip, "the clip")
    if value.region not in ("body", "head") or region not in (None, value.region):
        raise Violation(f"the clip's region is {value.region!r}, not {region or 'body or head'!r}")
    require_tensor(value.frames, ("T", "H", "W", 3), "frames", torch.uint8)
    T, H, W, _ = value.frames.shape
    if not T:
        raise Violation("the clip has no frames")
    require_tensor(value.alpha, (T, H, W), "alpha", torch.uint8)
    require_tensor(value.confidence, (T, H, W), "confidence", torch.uint8)
    require_params(value.requested, body, (T,), "the requested parameters")
    require_params(value.params, body, (T,), "the clip's parameters")
    if len(value.cameras) != T:
        raise Violation(f"the clip has {T} frames and {len(value.cameras)} cameras")
    for camera in value.cameras:
        require_camera(camera, "a camera of the clip")
        if (camera.width, camera.height) != (W, H):
            raise Violation(f"a camera of the clip is {camera.width} x {camera.height}, its frames are {W} x {H} pixels")


def require_posed(value: Any, body: BodyModel | None = None) -> None:
    """``Posed`` with Gaussians in step with each other and, where there is one, a sound mesh."""
    require_type(value, Posed, "the posed avatar")
    g = value.gaussians
    require_type(g, Gaussians, "gaussians")
    require_tensor(g.means, ("N", 3), "means")
    N = len(g)
    require_type(g.scales, torch.Tensor, "scales")
    require_tensor(g.scales, (N,) if g.isotropic else (N, 3), "scales")
    if N and float(g.scales.detach().min()) <= 0:
        raise Violation(f"scales hold {float(g.scales.detach().min()):.3g}; a standard deviation is above 0")
    require_tensor(g.colors, (N, 3), "colors")
    require_tensor(g.opacities, (N,), "opacities", low=0, high=1)
    if g.rotations is not None:
        require_tensor(g.rotations, (N, 4), "rotations")
        if N and bool(((g.rotations.norm(dim=-1) - 1).abs() > 1e-3).any()):
            raise Violation("rotations are not unit quaternions")
    if g.sh is not None:
        require_type(g.sh, torch.Tensor, "sh")
        if g.sh.ndim != 3 or g.sh.shape[1] not in (3, 8, 15):
            raise Violation(f"sh has the shape {tuple(g.sh.shape)}, not (N, 3, 3), (N, 8, 3) or (N, 15, 3)")
        require_tensor(g.sh, (N, g.sh.shape[1], 3), "sh")
    if value.mesh is not None:
        require_type(value.mesh, Mesh, "mesh")
        require_tensor(value.mesh.vertices, ("V", 3), "vertices of the mesh")
        require_tensor(value.mesh.faces, ("F", 3), "faces of the mesh", torch.int64, 0, len(value.mesh.vertices) - 1)
        if value.mesh.texture is not None:
            texture, F = value.mesh.texture, len(value.mesh.faces)
            require_type(texture, MeshTexture, "texture of the mesh")
            require_tensor(texture.uv, ("U", 2), "uv of the texture")
            require_tensor(texture.uv_faces, (F, 3), "uv_faces of the texture", torch.int64, 0, len(texture.uv) - 1)
            require_tensor(texture.rgb, ("H", "W", 3), "rgb of the texture")


def require_groups(value: Any) -> None:
    """Check that a value is a list of ``ParameterGroup`` whose tensors an optimizer can change."""
    if not isinstance(value, (list, tuple)):
        raise Violation(f"parameter_groups() is of the type {type(value).__name__}, not list")
    if not any(group.tensors for group in value if isinstance(group, ParameterGroup)):
        raise Violation("parameter_groups() holds no tensors")
    for group in value:
        require_type(group, ParameterGroup, "an item of parameter_groups()")
        if not isinstance(group.lr, (int, float)) or not 0 < group.lr < math.inf:
            raise Violation(f"the step size of {group.name!r} is {group.lr!r}, not a number above 0")
        for tensor in group.tensors:
            require_type(tensor, torch.Tensor, f"an item of {group.name!r}")
            if not (tensor.is_leaf and tensor.requires_grad):
                raise Violation(f"{group.name!r} holds tensors that cannot be optimized: they are no leaves, or need no gradient")


def require_loss(value: Any) -> None:
    """Check that a value is a scalar tensor; whether it is finite is checked where it is recorded."""
    require_type(value, torch.Tensor, "the loss")
    if value.ndim:
        raise Violation(f"the loss has the shape {tuple(value.shape)}, not ()")


def require_tensors(value: Any) -> None:
    """Check that a value is a mapping of names to tensors with finite values, as ``AvatarModel.state`` promises."""
    if not isinstance(value, Mapping):
        raise Violation(f"state() is of the type {type(value).__name__}, not dict")
    for name, tensor in value.items():
        require_type(tensor, torch.Tensor, f"the tensor {name!r} of state()")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.detach()).all()):
            raise Violation(f"the tensor {name} of state() holds numbers that are not finite")


_MOST = 2_000_000  # of what a letter in a shape counts, e.g. Gaussians


def require_shapes(specs: Mapping[str, TensorSpec], found: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
    """Every tensor of ``specs`` is among ``found`` (name -> type and shape), in step with the others; more may be there."""
    counts: dict[str, int] = {}
    for name, spec in specs.items():
        if name not in found:
            raise Violation(f"the tensor {name} is missing")
        dtype, shape = found[name]
        wanted = _shape_text([counts.get(str(n), n) for n in spec.shape])
        if len(shape) != len(spec.shape):
            raise Violation(f"the tensor {name} has the shape {shape}, not {wanted}")
        for n, m in zip(spec.shape, shape, strict=True):
            if isinstance(n, str):
                if not 1 <= m <= _MOST:
                    raise Violation(f"the tensor {name} has the shape {shape}; 1 to {_MOST:,} rows are possible")
                n = counts.setdefault(n, m)
            if n != m:
                raise Violation(f"the tensor {name} has the shape {shape}, not {wanted}")
        if dtype != spec.dtype:
            raise Violation(f"the tensor {name} holds {str(dtype)[6:]}, not {str(spec.dtype)[6:]}")


def require_values(specs: Mapping[str, TensorSpec], tensors: Mapping[str, torch.Tensor]) -> None:
    """Check that ``tensors`` are finite, and within the range that ``specs`` names."""
    for name, tensor in tensors.items():
        if not tensor.numel():
            continue
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Violation(f"the tensor {name} holds numbers that are not finite")
        if name in specs:
            low, high = (float(v) for v in torch.aminmax(tensor))
            if low < specs[name].low or high > specs[name].high:
                wanted = f"{specs[name].low:g} to {specs[name].high:g}"
                raise Violation(f"the tensor {name} holds numbers from {low:.3g} to {high:.3g}; {wanted} are possible")
