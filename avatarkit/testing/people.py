"""Checks for components that see and move people: matting, keypoints, body, tracker, motions, labels."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from avatarkit import validation
from avatarkit.errors import InputError
from avatarkit.io.photo import photo_from_array
from avatarkit.testing.cases import Case, Check, Skipped, expect, on_cpu, same
from avatarkit.testing.tiny import tiny_motion
from avatarkit.types.body import JointLandmarks, SurfaceLandmarks
from avatarkit.types.mesh import linear_blend_skinning

__all__ = ["PEOPLE_CHECKS"]

_PARTS = (
    "head", "face", "lips", "eyelids", "ears", "nails", "mouth_inside", "teeth", "tongue", "eyes", "left_hand",
    "right_hand", "left_foot", "right_foot", "skin",
)  # fmt: skip


def _blank() -> np.ndarray:
    return np.full((96, 96, 3), 128, np.uint8)


# ------------------------------------------------------------------------------------------------------------- matting


def _a_matte_has_the_size_of_the_photo(case: Case) -> None:
    """alpha is (H, W) and foreground (H, W, 3), float32 within 0 to 1; the photo is not modified."""
    photo = case.material.photo
    validation.require_matte(on_cpu(case.make().matte(photo, case.material.keypoints)), photo)


def _a_matte_needs_no_keypoints(case: Case) -> None:
    """``keypoints`` is optional."""
    validation.require_matte(case.make().matte(case.material.photo), case.material.photo)


def _the_same_photo_gives_the_same_matte(case: Case) -> None:
    """Two fresh instances give the same numbers."""
    m = case.material
    expect(same(case.make().matte(m.photo, m.keypoints), case.make().matte(m.photo, m.keypoints)), "two mattes differ")


def _a_matte_without_a_person_is_an_input_error(case: Case) -> None:
    """A uniform picture raises InputError or gives an empty matte."""
    photo = photo_from_array(_blank())
    try:
        matte = case.make().matte(photo)
    except InputError:
        return
    validation.require_matte(matte, photo)
    expect(float(matte.alpha.mean()) < 0.05, "a person was cut out of a uniform gray picture")


# ---------------------------------------------------------------------------------------------------------- keypoints


def _landmarks_are_sets_with_scores(case: Case) -> None:
    """The result has named sets of (n, 2) float32 pixels, with (n,) scores within 0 to 1."""
    photo = case.material.photo
    image = photo.to_uint8()
    before = image.copy()
    validation.require_keypoints(case.make().detect(image), photo.width, photo.height)
    expect(np.array_equal(image, before), "the picture that was handed over was changed")


def _the_same_picture_gives_the_same_landmarks(case: Case) -> None:
    """Two fresh instances give the same numbers."""
    image = case.material.photo.to_uint8()
    expect(same(case.make().detect(image), case.make().detect(image)), "two detections differ")


def _a_picture_without_a_person_is_an_input_error(case: Case) -> None:
    """A uniform picture raises InputError."""
    try:
        case.make().detect(_blank())
    except InputError:
        return
    raise validation.Violation("landmarks were found in a uniform gray picture; InputError was expected")


def _a_video_is_followed_lazily(case: Case) -> None:
    """Each frame gives one result, None without a person; frames are read as results are requested."""
    photo, read = case.material.photo, itertools.count()

    def frames() -> Iterator[np.ndarray]:
        for image in (photo.to_uint8(), photo.to_uint8(), np.full_like(photo.to_uint8(), 128), *[photo.to_uint8()] * 60):
            next(read)
            yield image

    answers = iter(case.make().detect_video(frames()))
    first = [next(answers) for _ in range(3)]
    expect(next(read) < 60, "the whole video was read before the first answer")
    validation.require_keypoints(first[0], photo.width, photo.height)
    expect(first[2] is None, "a person was found in a uniform gray frame")


# --------------------------------------------------------------------------------------------------------------- body


def _tables_fit_together(case: Case) -> None:
    """Faces, atlas, skinning weights, joints and names have the shapes that ``BodyModel`` states."""
    body = case.make()
    V, J = len(body.skinning_weights), len(body.joint_names)
    validation.require_tensor(body.faces, ("F", 3), "faces", torch.int64, 0, V - 1)
    validation.require_tensor(body.uv, ("U", 2), "uv", low=0, high=1)
    validation.require_tensor(body.uv_faces, (len(body.faces), 3), "uv_faces", torch.int64, 0, len(body.uv) - 1)
    validation.require_tensor(body.skinning_indices, (V, "K"), "skinning_indices", torch.int64, 0, J - 1)
    validation.require_tensor(body.skinning_weights, tuple(body.skinning_indices.shape), "skinning_weights", low=0)
    error = float((body.skinning_weights.sum(1) - 1).abs().max())
    expect(error < 1e-4, f"rows of skinning_weights do not sum to one (off by {error:.2g})")
    expect(len(body.parents) == J and body.parents[0] == -1, "parents does not hold J numbers with -1 first")
    expect(all(0 <= p < j for j, p in enumerate(body.parents) if j), "a parent comes after its child")
    for names in (body.joint_names, body.shape_names, body.expression_names):
        expect(len(set(names)) == len(names), f"names are not unique: {names[:5]}...")
    for group in body.pose_groups:
        expect(len(group.joints) == len(group.share) and all(0 <= j < J for j in group.joints), f"pose group {group.name!r}")


def _neutral_parameters_are_at_rest(case: Case) -> None:
    """``neutral()`` is one frame without rotation; posed, it gives the rest pose."""
    body = case.make()
    p = body.neutral()
    validation.require_params(p, body, ())
    expect(not p.joints.any() and not p.root.any(), "neutral() turns joints")
    rest = body.rest(p.shape, p.expression[None])[0]
    root = body.skeleton(p.shape).positions[0]
    posed = body.vertices(replace(p, translation=root))[0]
    error = float((posed - rest).abs().max())
    expect(error < 1e-3, f"vertices of the rest pose are {error * 1000:.1f} mm off rest()")


def _vertices_are_the_skinned_rest_pose(case: Case) -> None:
    """vertices = linear_blend_skinning(rest + offsets, joint_transforms), in meters, for a whole motion at once."""
    body = case.make()
    p = replace(tiny_motion(body, frames=3).params, shape=body.neutral().shape)
    V, B = len(body.skinning_weights), len(p.root)
    rest = body.rest(p.shape, p.expression)
    validation.require_tensor(rest, (B, V, 3), "rest()")
    skeleton = body.skeleton(p.shape)
    validation.require_tensor(skeleton.positions, (len(body.joint_names), 3), "skeleton().positions")
    A = body.joint_transforms(skeleton, p.root, p.translation, p.joints)
    validation.require_tensor(A, (B, len(body.joint_names), 4, 4), "joint_transforms()")
    offsets = torch.linspace(0, 0.01, V)[:, None].expand(V, 3)
    before = copy.deepcopy(p)
    vertices = on_cpu(body.vertices(p, offsets))
    expect(same(before, p), "the parameters that were handed over were changed")
    validation.require_tensor(vertices, (B, V, 3), "vertices()")
    error = float((linear_blend_skinning(rest + offsets, body.skinning_indices, body.skinning_weights, A) - vertices).abs().max())
    expect(error < 1e-3, f"vertices() is {error * 1000:.1f} mm off the skinned rest pose")
    size = float((rest[0].amax(0) - rest[0].amin(0)).max())
    expect(0.3 < size < 3, f"the neutral body is {size:.2f} m large: units are meters")


def _parts_of_the_mesh_can_be_asked_for(case: Case) -> None:
    """``rest(subset)`` computes some vertices only; ``part`` gives (V,) 0 to 1, or KeyError for an unknown part."""
    body = case.make()
    p = body.neutral()
    V = len(body.skinning_weights)
    some = torch.arange(0, V, max(1, V // 7))
    whole = body.rest(p.shape, p.expression[None])
    expect(torch.allclose(body.rest(p.shape, p.expression[None], some), whole[:, some], atol=1e-5), "rest(subset) differs")
    for part in _PARTS:
        validation.require_tensor(body.part(part), (V,), f"part({part!r})", low=0, high=1)
    try:
        body.part("no such part")
    except KeyError:
        return
    raise validation.Violation("part('no such part') does not raise KeyError")


def _gradients_reach_shape_expression_and_pose(case: Case) -> None:
    """``vertices`` is differentiable; gradients are finite and not all zero."""
    body = case.make()
    n = body.neutral()
    names = ("shape", "expression", "root", "translation", "joints")
    p = replace(n, **{k: getattr(n, k).clone().requires_grad_() for k in names})
    body.vertices(p).square().sum().backward()
    for name in names:
        gradient = getattr(p, name).grad
        if getattr(p, name).numel():
            expect(gradient is not None and torch.isfinite(gradient).all(), f"no finite gradient reaches {name}")
            expect(gradient.any(), f"the gradient of {name} is zero everywhere")


def _landmark_tables_are_sound(case: Case) -> None:
    """``landmarks`` gives a table, or None for an unknown set; ``mirror`` of joints is its own inverse."""
    body = case.make()
    expect(body.landmarks("no such set") is None, "landmarks('no such set') is not None")
    for name in ("face478", "pose33", "hand21_left", "hand21_right", "coco133"):
        table = body.landmarks(name)
        expect(table is None or isinstance(table, (SurfaceLandmarks, JointLandmarks)), f"landmarks({name!r}) is not a table")
    vertices, joints = body.mirror()
    validation.require_tensor(vertices, (len(body.skinning_weights),), "mirror()[0]", torch.int64, 0)
    validation.require_tensor(joints, (len(body.joint_names),), "mirror()[1]", torch.int64, 0)
    expect(torch.equal(joints[joints], torch.arange(len(joints))), "mirror() of joints is not its own inverse")


# ------------------------------------------------------------------------------------------------------------ tracker


def _a_photo_becomes_a_subject(case: Case) -> None:
    """``fit`` gives parameters of the build's body model, a camera of the photo's size and offsets (V, 3)."""
    m = case.material
    validation.require_subject(on_cpu(case.make().fit(m.photo, m.matte, m.keypoints)), m.photo, m.body)


def _the_same_photo_gives_the_same_subject(case: Case) -> None:
    """Two fresh instances give the same numbers."""
    m = case.material
    once, again = (case.make().fit(m.photo, m.matte, m.keypoints) for _ in range(2))
    expect(same(once.params, again.params) and same(once.camera, again.camera), "two fits differ")


def _clips_are_tracked_with_the_shape_kept(case: Case) -> None:
    """``track`` gives one pose per frame, keeps the subject's shape and marks frames without a person."""
    m = case.material
    tracker = case.make()
    subject = tracker.fit(m.photo, m.matte, m.keypoints)
    frames = [m.keypoints, m.keypoints, None, m.keypoints]
    motion = tracker.track(frames, subject, 10.0)
    validation.require_motion(motion, m.body)
    expect(len(motion) == len(frames), f"{len(frames)} frames became {len(motion)}")
    expect(torch.equal(motion.params.shape, subject.params.shape), "the subject's shape was not kept")
    expect(motion.valid is not None and not motion.valid[2], "the frame without landmarks is not marked in ``valid``")


def _clips_of_strangers_are_tracked(case: Case) -> None:
    """``track`` works without a subject."""
    m = case.material
    validation.require_motion(case.make().track([m.keypoints] * 3, None, 10.0), m.body)


# ------------------------------------------------------------------------------------------------------------ motions


def _every_motion_fits_the_body_model(case: Case) -> None:
    """Each of ``names()`` has a description of one line and gives a ``Motion`` of the build's body model."""
    source = case.make()
    expect(source.names() and len(set(source.names())) == len(source.names()), "names() is empty or contains a name twice")
    for name in source.names():
        expect(source.describe(name) and "\n" not in source.describe(name), f"describe({name!r}) is not one line")
        validation.require_motion(on_cpu(source.motion(name)), case.material.body)


def _an_unknown_motion_is_an_input_error(case: Case) -> None:
    """``motion`` of an unknown name raises InputError."""
    try:
        case.make().motion("no such motion")
    except InputError:
        return
    raise validation.Violation("motion('no such motion') does not raise InputError")


def _motions_for_labels_follow_the_seed(case: Case) -> None:
    """``motions(count, seed)`` gives that many motions, the same ones for the same seed."""
    once, again = (list(case.make().motions(3, 7)) for _ in range(2))
    expect(len(once) == 3, f"motions(3, seed) gave {len(once)}")
    for motion in once:
        validation.require_motion(motion, case.material.body)
    expect(all(map(same, once, again)), "the same seed gave other motions")


# ------------------------------------------------------------------------------------------------------------- labels


def _a_motion_becomes_a_clip(case: Case) -> None:
    """Frames, mattes, confidence, parameters and cameras match; subject and motion are not modified."""
    m = case.material
    clip = on_cpu(case.make().generate(m.subject, m.motion, 0))
    validation.require_clip(clip, m.body)
    expect(clip.alpha.any(), "the clip shows no person")


def _the_same_seed_gives_the_same_clip(case: Case) -> None:
    """Two fresh instances give the same frames."""
    m = case.material
    once, again = (case.make().generate(m.subject, m.motion, 5) for _ in range(2))
    expect(same(once, again), "two clips of the same seed differ")


def _exact_generators_keep_the_request(case: Case) -> None:
    """If ``exact`` is true, ``params`` equals ``requested``."""
    generator = case.make()
    if not getattr(generator, "exact", False):
        raise Skipped("it is not declared exact: its clips are re-tracked")
    clip = generator.generate(case.material.subject, case.material.motion, 0)
    expect(same(clip.params, clip.requested), "params differs from requested")


PEOPLE_CHECKS: dict[str, tuple[Check, ...]] = {
    "matting": (
        _a_matte_has_the_size_of_the_photo,
        _a_matte_needs_no_keypoints,
        _the_same_photo_gives_the_same_matte,
        _a_matte_without_a_person_is_an_input_error,
    ),
    "keypoints": (
        _landmarks_are_sets_with_scores,
        _the_same_picture_gives_the_same_landmarks,
        _a_picture_without_a_person_is_an_input_error,
        _a_video_is_followed_lazily,
    ),
    "body": (
        _tables_fit_together,
        _neutral_parameters_are_at_rest,
        _vertices_are_the_skinned_rest_pose,
        _parts_of_the_mesh_can_be_asked_for,
        _gradients_reach_shape_expression_and_pose,
        _landmark_tables_are_sound,
    ),
    "tracker": (
        _a_photo_becomes_a_subject,
        _the_same_photo_gives_the_same_subject,
        _clips_are_tracked_with_the_shape_kept,
        _clips_of_strangers_are_tracked,
    ),
    "motions": (
        _every_motion_fits_the_body_model,
        _an_unknown_motion_is_an_input_error,
        _motions_for_labels_follow_the_seed,
    ),
    "labels": (
        _a_motion_becomes_a_clip,
        _the_same_seed_gives_the_same_clip,
        _exact_generators_keep_the_request,
    ),
}
"""Kind -> its checks."""
