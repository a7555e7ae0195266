"""Checks for components that render and learn: avatar, loss, renderer, exporter."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from avatarkit import validation
from avatarkit.errors import AvatarkitError, StoreError
from avatarkit.interfaces import AvatarModel, Posed, TrainStep
from avatarkit.rendering import render_posed
from avatarkit.testing.cases import Case, Check, expect, on_cpu, same
from avatarkit.testing.material import Material
from avatarkit.testing.tiny import ReferenceRenderer
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.mesh import Mesh, MeshRendering

__all__ = ["PICTURE_CHECKS", "train_step"]

BACKGROUND = torch.tensor([0.2, 0.4, 0.6])


# ------------------------------------------------------------------------------------------------------------- avatar


def _created(case: Case) -> AvatarModel:
    avatar: AvatarModel = case.make()
    avatar.create(case.material.subject, [case.material.clip])
    return avatar


def _a_subject_becomes_gaussians(case: Case) -> None:
    """``create`` and ``pose`` give (N) Gaussians of the declared ``features`` or a textured mesh; labels may be absent."""
    posed = on_cpu(_created(case).pose(case.material.subject.params))
    validation.require_posed(posed)
    drawn = len(posed.gaussians) or (posed.mesh is not None and posed.mesh.texture is not None)
    expect(drawn, "there is nothing to draw: neither Gaussians nor a mesh with a texture")
    declared = case.component.features_with(case.component.make_config(case.options))
    hidden = [feature for feature in posed.gaussians.features if feature not in declared]
    wanted = (*declared, *hidden)
    expect(not hidden, f"the Gaussians are {' and '.join(hidden)}: give register(...) features={wanted!r}")
    alone = case.make()
    alone.create(case.material.subject, [])
    validation.require_posed(alone.pose(case.material.subject.params))


def _points(posed: Posed) -> torch.Tensor:
    """Return what is drawn: Gaussians, or vertices if there are none."""
    return posed.gaussians.means if len(posed.gaussians) or posed.mesh is None else posed.mesh.vertices


def _the_avatar_moves_and_keeps_its_own_shape(case: Case) -> None:
    """Another place moves Gaussians or mesh; the shape in the parameters is ignored."""
    avatar, p = _created(case), case.material.subject.params
    with torch.no_grad():
        still = _points(avatar.pose(p))
        moved = _points(avatar.pose(replace(p, translation=p.translation + 0.5)))
        other = _points(avatar.pose(replace(p, shape=p.shape + 0.3)))
    expect((moved - still).abs().max() > 0.1, "half a meter of translation moved nothing")
    expect(torch.allclose(other, still, atol=1e-6), "the shape in the parameters changed the avatar")


def _gradients_reach_the_parameters(case: Case) -> None:
    """Each group has leaf tensors and a positive step size; a picture's finite gradient reaches at least one."""
    avatar = _created(case)
    groups = avatar.parameter_groups()
    expect(groups and len({g.name for g in groups}) == len(groups), "there are no parameter groups, or two of one name")
    for group in groups:
        expect(group.lr > 0, f"the step size of {group.name!r} is {group.lr}")
        expect(
            all(t.is_leaf and t.requires_grad for t in group.tensors), f"{group.name!r} contains tensors that cannot be optimized"
        )
    step = train_step(case.material, avatar)
    (step.rendering.rgb - step.target).abs().mean().backward()
    gradients = [t.grad for g in groups for t in g.tensors if t.grad is not None]
    expect(any(g.any() for g in gradients), "a picture of the avatar gives none of its parameters a gradient")
    expect(all(torch.isfinite(g).all() for g in gradients), "gradients are not finite")


def _state_is_all_that_load_needs(case: Case) -> None:
    """``load(state())`` in a new instance gives the same pose, bit for bit; tensors are contiguous and on the CPU."""
    avatar, params = _created(case), case.material.subject.params
    state = avatar.state()
    for name, tensor in state.items():
        expect(tensor.is_contiguous() and tensor.device.type == "cpu", f"{name} is not contiguous, or not on the CPU")
        expect(not tensor.requires_grad, f"{name} carries a gradient")
    again: AvatarModel = case.make()
    again.load(state)
    with torch.no_grad():
        one, other = avatar.pose(params), again.pose(params)
        expect(same((one.gaussians, one.mesh), (other.gaussians, other.mesh)), "the loaded avatar poses differently")
    expect(again.parameter_groups(), "a loaded avatar cannot be trained on")


def _a_damaged_state_is_a_store_error(case: Case) -> None:
    """A missing tensor raises StoreError."""
    state = dict(_created(case).state())
    for name in state:
        try:
            case.make().load({k: v for k, v in state.items() if k != name})
        except StoreError:
            continue
        raise validation.Violation(f"a state without {name!r} is accepted; StoreError was expected")


def _specs_tell_what_the_state_is(case: Case) -> None:
    """``specs``, if any, name all tensors of ``state``, and the tensors fit them."""
    state, specs = _created(case).state(), case.make().specs()
    if not specs:
        return
    expect(set(specs) == set(state), f"specs name {sorted(specs)}, the state holds {sorted(state)}")
    validation.require_shapes(specs, {name: (t.dtype, tuple(t.shape)) for name, t in state.items()})
    validation.require_values(specs, state)


def _the_same_subject_gives_the_same_avatar(case: Case) -> None:
    """Two new instances contain the same tensors."""
    expect(same(dict(_created(case).state()), dict(_created(case).state())), "two avatars of one subject differ")


# --------------------------------------------------------------------------------------------------------------- loss


def train_step(material: Material, avatar: AvatarModel, kind: str = "photo", empty: bool = False) -> TrainStep:
    """Return one training step on the material's photo, with gradients to ``avatar``.

    Args:
        material: what to test on.
        avatar: it gets the gradients.
        kind: ``photo``, ``body`` or ``head``.
        empty: whether the picture shows no person.
    """
    subject = material.subject
    posed = avatar.pose(subject.params)
    rendering = render_posed(material.renderer, posed, subject.camera, BACKGROUND)
    alpha = torch.zeros_like(subject.matte.alpha) if empty else subject.matte.alpha
    target = subject.matte.foreground * alpha[..., None] + BACKGROUND * (1 - alpha[..., None])

    def mesh_mask() -> torch.Tensor:
        expect(posed.mesh is not None, "it needs the mask of the mesh, but the avatar has no mesh")
        assert posed.mesh is not None
        return material.renderer.meshes.render(posed.mesh, subject.camera).mask

    return TrainStep(
        step=3000, kind=kind, target=target, foreground=subject.matte.foreground, alpha=alpha,
        confidence=torch.ones_like(alpha), camera=subject.camera, background=BACKGROUND, rendering=rendering, posed=posed,
        avatar=avatar, mesh_mask=mesh_mask, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def _step(case: Case, **how: Any) -> TrainStep:
    avatar = case.material.get("avatar")
    avatar.create(case.material.subject, [])
    return train_step(case.material, avatar, **how)


def _a_step_gives_a_scalar(case: Case) -> None:
    """The value is a finite scalar () for each kind of step."""
    loss = case.make()
    for kind in ("photo", "body", "head"):
        validation.require_tensor(on_cpu(loss(_step(case, kind=kind))), (), "the loss")


def _the_step_is_left_alone(case: Case) -> None:
    """Target, foreground, matte, confidence, background, rendering and posed avatar are the same after the call."""
    step = _step(case)
    names = ("target", "foreground", "alpha", "confidence", "background", "rendering", "posed")
    before = {name: _copied(getattr(step, name)) for name in names}
    case.make()(step)
    for name in names:
        expect(same(before[name], _copied(getattr(step, name))), f"step.{name}, which was handed over, was changed")


def _copied(value: Any) -> Any:
    """Return the tensors of a value, without their gradients."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if is_dataclass(value):
        return {f.name: _copied(getattr(value, f.name)) for f in fields(value)}
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _a_picture_without_a_person_is_fine(case: Case) -> None:
    """An empty matte gives a finite value too."""
    validation.require_tensor(case.make()(_step(case, empty=True)), (), "the loss")


def _gradients_are_finite(case: Case) -> None:
    """The value depends on the avatar's parameters, and its gradient is finite."""
    step = _step(case)
    value = case.make()(step)
    expect(value.requires_grad, "the value does not depend on the avatar: no gradient flows")
    value.backward()
    for group in step.avatar.parameter_groups():
        for tensor in group.tensors:
            expect(tensor.grad is None or torch.isfinite(tensor.grad).all(), f"the gradient of {group.name!r} is not finite")


def _the_same_step_gives_the_same_value(case: Case) -> None:
    """Equal steps give equal bits; random crops use ``step.generator``."""
    once, again = (case.make()(_step(case)).detach() for _ in range(2))
    expect(torch.equal(once, again), f"two equal steps gave {float(once)} and {float(again)}")


# ----------------------------------------------------------------------------------------------------------- renderer


def _gaussians(case: Case) -> Gaussians:
    """Return Gaussians with all features that the renderer declares."""
    vertices = case.material.body.vertices(case.material.subject.params)[0].detach()[::6]
    n, generator = len(vertices), torch.Generator().manual_seed(0)
    t = torch.linspace(0, 1, n)
    g = Gaussians(vertices, 0.02 + 0.03 * t, torch.stack([t, 1 - t, 0.5 + 0 * t], 1), 0.3 + 0.6 * t)
    if "anisotropic" in case.component.features:
        turns = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1)
        g = replace(g, scales=g.scales[:, None] * torch.tensor([0.4, 1.0, 1.4]), rotations=turns)
    return replace(g, sh=0.1 * torch.randn(n, 15, 3, generator=generator)) if "sh" in case.component.features else g


def _splats_agree_with_the_reference(case: Case) -> None:
    """Pictures are within 0.02 of the slow reference in ``avatarkit.reference``, and their median within 0.001."""
    camera, g = case.material.subject.camera, _gaussians(case)
    before = _copied(g), BACKGROUND.clone()
    ours = on_cpu(case.make().gaussians.render(g, camera, BACKGROUND))
    expect(same(before, (_copied(g), BACKGROUND)), "the Gaussians or the background that were handed over were changed")
    _require_rendering(ours, camera)
    truth = ReferenceRenderer().gaussians.render(g, camera, BACKGROUND)
    for name in ("rgb", "alpha"):
        error = (getattr(ours, name) - getattr(truth, name)).abs()
        expect(error.max() < 0.02 and error.median() < 1e-3, f"{name} is up to {float(error.max()):.3f} off the reference")


def _gradients_of_splats_agree_with_the_reference(case: Case) -> None:
    """Gradients to all tensors of the Gaussians have the direction of the reference's."""
    camera = case.material.subject.camera

    def gradients(renderer: Any) -> dict[str, torch.Tensor]:
        g = _gaussians(case).map(lambda t: t.clone().requires_grad_())
        drawn = renderer.gaussians.render(g, camera, BACKGROUND)
        (drawn.rgb.square().mean() + drawn.alpha.mean()).backward()
        return {f.name: t.grad for f in fields(g) if (t := getattr(g, f.name)) is not None and t.grad is not None}

    ours, truth = gradients(case.make()), gradients(ReferenceRenderer())
    for name, wanted in truth.items():
        expect(name in ours, f"no gradient reaches {name}")
        similar = float(torch.cosine_similarity(ours[name].flatten(), wanted.flatten(), 0))
        expect(similar > 0.99, f"the gradient of {name} has another direction (cosine {similar:.3f} with the reference)")


def _nothing_to_draw_is_the_background(case: Case) -> None:
    """An empty set, and Gaussians behind the camera, give the background."""
    camera, g = case.material.subject.camera, _gaussians(case)
    renderer = case.make()
    none = g.map(lambda t: t[:0])
    behind = replace(g, means=g.means * torch.tensor([1.0, 1.0, -1.0]))
    for set_ in (none, behind):
        drawn = renderer.gaussians.render(set_, camera, BACKGROUND)
        _require_rendering(drawn, camera)
        expect(torch.allclose(drawn.rgb, BACKGROUND.expand_as(drawn.rgb)), "the picture is not the background")


def _meshes_agree_with_the_reference(case: Case) -> None:
    """At least 98 of 100 pixels show the same triangle; silhouettes are within 0.1 on average."""
    m = case.material
    mesh = Mesh(m.body.vertices(m.subject.params)[0].detach(), m.body.faces)
    before = _copied(mesh)
    ours = on_cpu(case.make().meshes.render(mesh, m.subject.camera))
    expect(same(before, _copied(mesh)), "the mesh that was handed over was changed")
    _require_mesh_rendering(ours, m.subject.camera, len(mesh.faces))
    truth = ReferenceRenderer().meshes.render(mesh, m.subject.camera)
    agree = float((ours.face_index == truth.face_index).float().mean())
    expect(agree > 0.98, f"another triangle than the reference's at {100 * (1 - agree):.1f} of 100 pixels")
    border = (truth.mask > 0) & (truth.mask < 1)
    expect((ours.mask - truth.mask).abs()[border].mean() < 0.1, "silhouettes differ from the reference")


def _silhouettes_have_gradients(case: Case) -> None:
    """``mask`` has a finite gradient to the vertices that is not zero everywhere."""
    m = case.material
    vertices = m.body.vertices(m.subject.params)[0].detach().requires_grad_()
    case.make().meshes.render(Mesh(vertices, m.body.faces), m.subject.camera).mask.square().mean().backward()
    expect(vertices.grad is not None and torch.isfinite(vertices.grad).all(), "no finite gradient reaches the vertices")
    assert vertices.grad is not None
    expect(vertices.grad.any(), "the gradient of the silhouette is zero everywhere")


def _the_same_scene_gives_the_same_picture(case: Case) -> None:
    """Two new instances draw the same bits."""
    camera, g = case.material.subject.camera, _gaussians(case)
    once, again = (case.make().gaussians.render(g, camera, BACKGROUND) for _ in range(2))
    expect(same(once, again), "two pictures of one scene differ")


# ----------------------------------------------------------------------------------------------------------- exporter


def _written(case: Case, folder: Path) -> Path:
    avatar = case.material.get("avatar")
    avatar.create(case.material.subject, [])
    path = folder / f"out.{case.component.name}"
    subject = case.material.subject
    options = {
        "consent": "Agreed.", "name": "ada", "camera": subject.camera, "center": subject.params.translation,
        "box": (0.0, 0.0, float(subject.camera.width), float(subject.camera.height)),
    }  # fmt: skip
    before = _copied(dict(avatar.state()))
    case.make().write(avatar, subject.params, path, **options)
    expect(same(before, _copied(dict(avatar.state()))), "the avatar that was handed over was changed")
    return path


def _digest(path: Path) -> str:
    parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()


def _in_a_folder(work: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work(Path(folder))


def _a_file_or_folder_is_written(case: Case) -> None:
    """Exactly ``path`` is written, and nothing beside it."""

    def work(folder: Path) -> None:
        path = _written(case, folder)
        expect([p.name for p in folder.iterdir()] == [path.name], f"the folder holds {[p.name for p in folder.iterdir()]}")
        sizes = [p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()]
        expect(sum(sizes) > 0, "what was written is empty")

    _in_a_folder(work)


def _the_same_avatar_gives_the_same_file(case: Case) -> None:
    """Writing twice gives the same bytes."""

    def work(folder: Path) -> None:
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        expect(_digest(_written(case, folder / "a")) == _digest(_written(case, folder / "b")), "two files of one avatar differ")

    _in_a_folder(work)


def _a_place_that_cannot_be_written_is_told(case: Case) -> None:
    """An unwritable path raises an error of avatarkit (StoreError) with a message, not a system error."""

    def work(folder: Path) -> None:
        (folder / "file").write_text("in the way")
        try:
            _written(case, folder / "file")
        except AvatarkitError:
            return
        raise validation.Violation("writing into a folder that is a file raised nothing")

    _in_a_folder(work)


PICTURE_CHECKS: dict[str, tuple[Check, ...]] = {
    "avatar": (
        _a_subject_becomes_gaussians,
        _the_avatar_moves_and_keeps_its_own_shape,
        _gradients_reach_the_parameters,
        _state_is_all_that_load_needs,
        _a_damaged_state_is_a_store_error,
        _specs_tell_what_the_state_is,
        _the_same_subject_gives_the_same_avatar,
    ),
    "loss": (
        _a_step_gives_a_scalar,
        _the_step_is_left_alone,
        _a_picture_without_a_person_is_fine,
        _gradients_are_finite,
        _the_same_step_gives_the_same_value,
    ),
    "renderer": (
        _splats_agree_with_the_reference,
        _gradients_of_splats_agree_with_the_reference,
        _nothing_to_draw_is_the_background,
        _meshes_agree_with_the_reference,
        _silhouettes_have_gradients,
        _the_same_scene_gives_the_same_picture,
    ),
    "exporter": (
        _a_file_or_folder_is_written,
        _the_same_avatar_gives_the_same_file,
        _a_place_that_cannot_be_written_is_told,
    ),
}
"""Kind -> its checks."""


def _require_rendering(value: Any, camera: Camera) -> None:
    """A ``GaussianRendering`` of the camera's size."""
    validation.require_type(value, GaussianRendering, "the rendering")
    size = (camera.height, camera.width)
    validation.require_tensor(value.rgb, (*size, 3), "rgb")
    validation.require_tensor(value.alpha, size, "alpha", low=0, high=1)
    validation.require_tensor(value.depth, size, "depth")


def _require_mesh_rendering(value: Any, camera: Camera, faces: int) -> None:
    """A ``MeshRendering`` of the camera's size."""
    validation.require_type(value, MeshRendering, "the rendering")
    size = (camera.height, camera.width)
    validation.require_tensor(value.mask, size, "mask", low=0, high=1)
    validation.require_tensor(value.face_index, size, "face_index", torch.int64, -1, faces - 1)
    validation.require_tensor(value.barycentric, (*size, 3), "barycentric")
    validation.require_tensor(value.depth, size, "depth")
