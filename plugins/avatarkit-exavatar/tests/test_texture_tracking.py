"""The photo's texture, found again in frames, on a synthetic person with a pattern all over."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avatarkit.registry import Registry
from avatarkit.types.camera import front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh, barycentric
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Quality, Subject

SIZE = 320


def _picture(context, params, camera):
    """(H, W, 3) uint8 with a pattern that moves with the surface, and the silhouette (H, W)."""
    body = context.get("body")
    drawn = context.get("renderer").meshes.render(Mesh(body.vertices(params)[0], body.faces), camera)
    rest = body.rest(params.shape, torch.zeros(1, len(body.expression_names)))[0]
    hit = drawn.face_index >= 0
    place = barycentric(rest, body.faces[drawn.face_index[hit]], drawn.barycentric[hit].float())
    pattern = torch.sin(place @ torch.tensor([[170.0, 40.0, 0.0], [60.0, -150.0, 90.0], [200.0, 220.0, 0.0]])).mean(1)
    image = torch.full((camera.height, camera.width, 3), 0.5)
    image[hit] = (0.5 + 0.4 * pattern[:, None]).expand(-1, 3)
    return (image * 255).round().to(torch.uint8).numpy(), drawn.mask.clamp(0, 1)


def _keypoints(context, params, camera, shift):
    """The face where it is, shoulders aside by ``shift`` pixels."""
    body = context.get("body")
    face, pose = body.landmarks("face478"), body.landmarks("pose33")
    vertices = body.vertices(params)[0]
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root[None], params.translation[None], params.joints[None])[0]
    reach = (skeleton.orientations[pose.joint] @ pose.offset[..., None])[..., 0]
    at = A[pose.joint, :3, :3] @ (skeleton.positions[pose.joint] + reach)[..., None]
    points = np.zeros((33, 2), np.float32)
    points[pose.index.numpy()] = camera.project(at[..., 0] + A[pose.joint, :3, 3]).numpy()
    points[[11, 12]] += shift
    scores = np.isin(np.arange(33), [11, 12]).astype(np.float32)
    pixels = {"face478": camera.project(barycentric(vertices, face.triangles, face.barycentric)).numpy(), "pose33": points}
    return Keypoints(SIZE, SIZE, pixels, {"face478": np.ones(478, np.float32), "pose33": scores}, box=(0, 0, SIZE, SIZE))


@pytest.fixture(scope="module")
def clip(context):
    """Subject, frames, landmarks and truth: the trunk turns a little, while the detector sees the shoulders sink."""
    body = context.get("body")
    params = replace(body.neutral(), translation=torch.tensor([0.0, -0.45, -1.3]))
    camera = front_camera(SIZE, SIZE)
    spine = next(g for g in body.pose_groups if g.name == "spine2")
    truth = [params]
    for k in range(1, 4):
        joints = params.joints.clone()
        for j, share in zip(spine.joints, spine.share, strict=True):
            joints[j] = torch.tensor([0.0, 0.02 * k, 0.0]) * share
        truth.append(replace(params, joints=joints))
    frames, keypoints = [], []
    for k, p in enumerate(truth):
        frames.append(_picture(context, p, camera)[0])
        keypoints.append(_keypoints(context, p, camera, np.array([2.0, 4.0], np.float32) * min(k, 1)))
    image, mask = torch.from_numpy(frames[0]).float() / 255, _picture(context, params, camera)[1]
    quality = Quality({}, {"face": True}, ())
    none = torch.zeros(len(body.skinning_weights), 3)
    photo = Photo(image, None, "0" * 64, "pattern.png")
    return Subject(photo, Matte(mask, image), keypoints[0], params, camera, none, quality), frames, keypoints, truth


def _error(context, clip, images, **options):
    """Pixels between the trunk's visible vertices and the truth, mean over all frames."""
    subject, _, keypoints, truth = clip
    body = context.get("body")
    tracker = Registry.load().get("tracker", "exavatar").create(options, context)
    motion = tracker.track(keypoints, subject, 25.0, images=images)
    rest = body.vertices(subject.params)[0]
    at = subject.camera.project(rest)
    trunk = (body.part("head") < 0.5) & ((at >= 0) & (at < SIZE)).all(1)
    off = [
        subject.camera.project(body.vertices(motion.params[k])[0]) - subject.camera.project(body.vertices(p)[0])
        for k, p in enumerate(truth)
    ]
    return torch.stack(off)[:, trunk].norm(dim=-1).mean(), motion


def test_what_the_picture_shows_beats_landmarks_that_moved(context, clip):
    without, _ = _error(context, clip, None)
    error, _ = _error(context, clip, clip[1])
    assert error < 0.5 < without, (error, without)


def test_pictures_of_something_else_change_nothing_much(context, clip):
    noise = [np.random.default_rng(k).integers(0, 255, (SIZE, SIZE, 3), np.uint8) for k in range(4)]
    _, plain = _error(context, clip, None)
    _, misled = _error(context, clip, noise)
    assert (plain.params.translation - misled.params.translation).norm(dim=-1).max() < 0.01


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_do_not_hang_on_threads(context, clip, threads):
    _, once = _error(context, clip, clip[1])
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        _, again = _error(context, clip, clip[1])
    finally:
        cv2.setNumThreads(before)
    assert torch.equal(once.params.joints, again.params.joints)
