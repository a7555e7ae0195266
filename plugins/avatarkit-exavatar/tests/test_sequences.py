"""What many frames know together: one shape, steadier depth, and how fast arms may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatarkit.registry import Registry
from avatarkit.types.camera import front_camera
from avatarkit.types.keypoints import Keypoints
from avatarkit_exavatar.fitting.solver import Normal
from avatarkit_exavatar.observations.depth import SteadyDepth
from avatarkit_exavatar.observations.observation import Observations, observe
from avatarkit_exavatar.video.shared_shape import SharedShape, _chosen
from avatarkit_exavatar.video.tracking import VideoTracker


@pytest.fixture(scope="module")
def tracker(context):
    return Registry.load().get("tracker", "exavatar").create({"pose_iterations": 10}, context)


def _frames(context, tracker, noise, count):
    """Observations of a tall, slim person, facing a little elsewhere in each frame; their vector and cameras."""
    body, parameters = context.get("body"), tracker.parameters
    params = replace(body.neutral(), translation=torch.tensor([0.02, -0.35, -2.2]))
    for name, value in (("height", 0.6), ("weight", 0.3), ("proportions", 0.8)):
        params.shape[body.shape_names.index(name)] = value
    camera, random = front_camera(384, 384), np.random.default_rng(0)
    face, pose = body.landmarks("face478"), body.landmarks("pose33")
    rows, keypoints = [], []
    for k in range(count):
        p = replace(params, root=torch.tensor([0.0, 0.3 * (k / (count - 1) - 0.5), 0.0]))
        vertices = body.vertices(p)[0]
        skeleton = body.skeleton(p.shape)
        A = body.joint_transforms(skeleton, p.root[None], p.translation[None], p.joints[None])[0]
        joint = A[pose.joint, :3, :3] @ (
            skeleton.positions[pose.joint][..., None]
            + (skeleton.orientations[pose.joint] @ pose.offset[..., None])
            * ((skeleton.positions[pose.bone[:, 0]] - skeleton.positions[pose.bone[:, 1]]).norm(dim=1) / pose.bone_length)[
                :, None, None
            ]
        )
        points = {"face478": (vertices[face.triangles] * face.barycentric[..., None]).sum(1), "pose33": torch.zeros(33, 3)}
        points["pose33"][pose.index] = joint[..., 0] + A[pose.joint, :3, 3]
        pixels = {n: camera.project(v).numpy() for n, v in points.items()}
        sigma = {"face478": 0.3, "pose33": 4.0}
        pixels = {n: (v + noise * sigma[n] * random.standard_normal(v.shape)).astype(np.float32) for n, v in pixels.items()}
        scores = {n: ((v >= 0) & (v < 384)).all(1).astype(np.float32) for n, v in pixels.items()}
        keypoints.append(Keypoints(384, 384, pixels, scores))
        rows.append(parameters.encode(p))
    observations = Observations(keypoints, lambda k: observe(k, body))
    return observations, torch.stack(rows), [camera] * count


def _shared(tracker, observations, cameras, count):
    return SharedShape(tracker.parameters, tracker.config, _chosen(observations, cameras, count))


@torch.no_grad()
def test_frames_agree_on_a_better_shape_than_each_alone(context, tracker):
    body, at = context.get("body"), tracker.parameters.layout
    observations, truth, cameras = _frames(context, tracker, 1.0, 6)
    start = truth.clone()
    start[:, at.shape] = body.neutral().shape

    neck = next(k for k, name in enumerate(body.joint_names) if name.lower().startswith("neck"))

    def wrong(shape):
        """Millimeters between joints as seen from the neck, people being equally large: pixels do not tell that."""
        seen, true = (body.skeleton(s).positions - body.skeleton(s).positions[neck] for s in (shape, truth[0, at.shape]))
        seen = seen * (seen * true).sum() / seen.square().sum()
        return float((seen - true).norm(dim=-1).mean()) * 1000

    together = _shared(tracker, observations, cameras, 6).fit(start, details=True)
    assert (together[:, at.shape] == together[0, at.shape]).all()
    alone = []
    for k in range(0, 6, 2):
        one = Observations([observations._frames[k]], observations._make)
        alone.append(wrong(_shared(tracker, one, cameras[:1], 1).fit(start[k : k + 1], details=True)[0, at.shape]))
    assert wrong(together[0, at.shape]) < 0.85 * np.mean(alone)


@torch.no_grad()
def test_poses_are_eliminated_exactly(context, tracker):
    """The step of all frames is that of the one large system they make."""
    observations, x, cameras = _frames(context, tracker, 0.0, 3)
    shared, at = _shared(tracker, observations, cameras, 3), tracker.parameters.layout
    far = torch.full((at.size,), 1e6)
    shared._priors = [replace(p, low=-far, high=far) for p in shared._priors]
    random = torch.Generator().manual_seed(0)
    normals = []
    for _ in range(3):
        J = 0.1 * torch.randn(2 * at.size, at.size, generator=random)
        normals.append(Normal(0.0, 1e-3 * torch.randn(at.size, generator=random), J.T @ J + torch.eye(at.size)))
    moved = shared._step(normals, x, torch.ones(at.size, dtype=torch.bool), damping=0.0) - x
    own, S = at.shape.start, at.shapes
    whole, right = torch.zeros(3 * own + S, 3 * own + S, dtype=torch.float64), torch.zeros(3 * own + S, dtype=torch.float64)
    for t, n in enumerate(normals):
        rows = torch.cat([torch.arange(own) + t * own, torch.arange(S) + 3 * own])
        whole[rows[:, None], rows] += n.hessian.double()
        right[rows] -= n.gradient.double()
    solved = torch.linalg.solve(whole, right)
    expected = torch.cat([solved[: 3 * own].reshape(3, own), solved[3 * own :].expand(3, S)], 1)
    torch.testing.assert_close(moved, expected.float(), atol=2e-6, rtol=1e-3)  # x is float32


def _deep(z, x=0.0):
    """A frame whose one landmark of rough 3D lies at depth z."""
    return Keypoints(8, 8, {"pose33": np.zeros((1, 2))}, {"pose33": np.ones(1)}, {"pose33": np.array([[x, 0.0, z]])})


def test_depth_is_steadied_but_not_across_gestures_and_cuts():
    random = np.random.default_rng(1)
    noise = 0.04 * random.standard_normal(41)
    steady = SteadyDepth([_deep(0.5 + n) if k != 20 else None for k, n in enumerate(noise)], fps=25.0)
    assert steady[20] is None
    z = np.array([k.points_3d["pose33"][0, 2] for k in steady if k is not None])
    assert z.std() < 0.5 * noise.std()
    jumped = SteadyDepth([_deep(0.0)] * 10 + [_deep(1.0, x=1.0)] * 10, fps=25.0)
    assert [round(float(k.points_3d["pose33"][0, 2]), 3) for k in jumped[8:12]] == [0.0, 0.0, 1.0, 1.0]
    plain = Keypoints(8, 8, {"pose33": np.zeros((1, 2))}, {"pose33": np.ones(1)})
    assert SteadyDepth([plain], 25.0)[0] is plain


def test_arms_are_let_go_only_around_frames_that_show_their_hands(context, tracker):
    parameters = tracker.parameters.knowing(context.get("body").neutral().shape)
    observations, _, _ = _frames(context, tracker, 0.0, 2)
    without = observations[0]
    shows = replace(without, visible={**without.visible, "left_hand": True})
    cutoff, fast = VideoTracker(parameters, tracker.config, context)._pace([without] * 6 + [shows] + [None] + [without] * 4, 25.0)
    left, right = (torch.arange(parameters.layout.size)[parameters.layout.pose][parameters.arm(s)] for s in ("left", "right"))
    free = [4, 5, 6, 7, 8]
    assert (cutoff[free][:, left] == tracker.config.arm_cutoff).all()
    held = [k for k in range(12) if k not in free]
    assert (cutoff[held][:, left] == tracker.config.body_cutoff).all()
    assert (cutoff[:, right] == tracker.config.body_cutoff).all()
    assert torch.isfinite(fast[free][:, left]).all()
    assert torch.isinf(fast[held][:, left]).all()
