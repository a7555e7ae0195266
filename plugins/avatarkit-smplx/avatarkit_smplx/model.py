"""SMPL-X as a ``BodyModel``."""

from __future__ import annotations

import torch

from avatarkit.errors import InputError
from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import Context, ShapePrior, Skeleton
from avatarkit.types.body import SMPLX_JOINTS, BodyParams, JointLandmarks, SurfaceLandmarks
from avatarkit.types.mesh import linear_blend_skinning
from avatarkit_smplx.config import SmplxConfig
from avatarkit_smplx.files import find_model, load_smplx, read_uv
from avatarkit_smplx.tables import face478, joint_landmarks, mirror, parts, pose_groups

__all__ = ["SmplxBody"]


class SmplxBody:
    """Implements ``BodyModel`` ("Expressive Body Capture", Pavlakos et al., 2019) with the tables of the package ``smplx``.

    ``shape`` holds betas, ``expression`` the model's own components, both around 0; the jaw and the eyes are joints. Rest is
    the T-pose. Pose correctives are left out, as the avatar's canonical space (paper, eq. 2) knows no pose: at bent elbows and
    knees the mesh is some millimeters off SMPL-X's own. Expressions do not move joints. All tensors live on ``context.device``.
    """

    shape_prior: ShapePrior | None = None

    @torch.inference_mode(False)  # what is made here serves training too, wherever the model was made
    def __init__(self, config: SmplxConfig, context: Context) -> None:
        from smplx.vertex_ids import vertex_ids

        path = find_model(config.gender)
        context.progress("body model: reading SMPL-X", None)
        model, uv = load_smplx(path, config.shapes, config.expressions)
        device = torch.device(context.device)
        self.name = "smplx"
        self.joint_names: tuple[str, ...] = SMPLX_JOINTS
        self.parents: tuple[int, ...] = tuple(int(p) for p in model.parents.tolist())
        if self.parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(self.parents) if j):
            raise InputError(f"{path.name} is no SMPL-X model: its joints form no tree.")
        self.pose_groups = pose_groups()
        self._template = model.v_template.float().to(device)
        self._shapes = model.shapedirs.float().to(device)  # (V, 3, S)
        self._expressions = model.expr_dirs.float().to(device)  # (V, 3, E)
        regressor = model.J_regressor.float().to(device)
        self._joints = regressor @ self._template  # (J, 3)
        self._joints_shapes = torch.einsum("jv,vcs->jcs", regressor, self._shapes)
        self.shape_names: tuple[str, ...] = tuple(f"beta_{k:03d}" for k in range(self._shapes.shape[2]))
        self.expression_names: tuple[str, ...] = tuple(f"psi_{k:03d}" for k in range(self._expressions.shape[2]))
        self.faces = model.faces_tensor.to(device)
        points, corners = read_uv(uv, model.faces_tensor.numpy())
        self.uv, self.uv_faces = torch.from_numpy(points).to(device), torch.from_numpy(corners).to(device)
        self.skinning_indices, self.skinning_weights = (t.to(device) for t in _sparse(model.lbs_weights.float()))
        self._device = device

        vertices = self._template.cpu().double().numpy()
        ids = vertex_ids["smplx"]
        if max(ids.values()) >= len(vertices):
            raise InputError(f"{path.name} is no SMPL-X model: it has {len(vertices)} vertices instead of 10475.")
        lmk, weights = model.lmk_faces_idx.numpy(), model.lmk_bary_coords.numpy()
        landmarks = (vertices[model.faces_tensor.numpy()[lmk]] * weights[..., None]).sum(1)
        shares = parts(vertices, model.lbs_weights.numpy(), landmarks, ids)
        self._parts = {name: torch.from_numpy(share).to(device) for name, share in shares.items()}
        self._mirror = tuple(t.to(device) for t in mirror(vertices))
        self._landmarks: dict[str, SurfaceLandmarks | JointLandmarks | None] = {
            "face478": _on(face478(model.faces_tensor.numpy(), lmk, weights), device)
        }
        joints = self._joints.cpu().double().numpy()
        for name in ("pose33", "hand21_left", "hand21_right"):
            self._landmarks[name] = _on(joint_landmarks(name, joints, vertices, ids), device)

    def neutral(self) -> BodyParams:
        """Return one frame: the mean body in its T-pose, at the origin."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(*shape, device=self._device)

        S, E, J = len(self.shape_names), len(self.expression_names), len(self.joint_names)
        return BodyParams(self.name, zeros(S), zeros(E), zeros(3), zeros(3), zeros(J, 3))

    def rest(self, shape: torch.Tensor, expression: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        """Return T of eq. 2: shaped and expressed vertices in the rest pose, (B, V, 3) or (B, n, 3); differentiable.

        Args:
            shape: (S,).
            expression: (B, E).
            subset: (n,) int64 vertex numbers, None = all.
        """
        if shape.shape != (len(self.shape_names),) or expression.shape[1:] != (len(self.expression_names),):
            raise ValueError(
                f"shape must be ({len(self.shape_names)},) and expression (B, {len(self.expression_names)}), "
                f"not {tuple(shape.shape)} and {tuple(expression.shape)}"
            )
        template, shapes, expressions = self._template, self._shapes, self._expressions
        if subset is not None:
            template, shapes, expressions = template[subset], shapes[subset], expressions[subset]
        moved = (expression @ expressions.flatten(0, 1).T).unflatten(1, (-1, 3))
        return template + shapes @ shape + moved

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        """Return J(beta) of eq. 1.

        Positions are differentiable. Joints have no axes of their own.
        """
        positions = self._joints + self._joints_shapes @ shape
        return Skeleton(positions, torch.eye(3, device=positions.device).expand(len(positions), 3, 3))

    def joint_transforms(
        self, skeleton: Skeleton, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        """Return rest space to world, (B, J, 4, 4), for ``linear_blend_skinning``; differentiable.

        Args:
            skeleton: of the identity.
            root: (B, 3) axis-angle.
            translation: (B, 3) where the root joint goes (SMPL-X's own ``transl`` moves the origin).
            joints: (B, J, 3) axis-angle about each joint; the root's own row is ignored.
        """
        heads = skeleton.positions
        local = axis_angle_to_matrix(torch.cat([root[:, None], joints[:, 1:]], 1))
        turned, at = [local[:, 0]], [translation]
        for j, parent in enumerate(self.parents[1:], start=1):
            at.append(at[parent] + turned[parent] @ (heads[j] - heads[parent]))
            turned.append(turned[parent] @ local[:, j])
        R, place = torch.stack(turned, 1), torch.stack(at, 1)
        shift = place - (R @ heads[..., None])[..., 0]
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=shift.dtype, device=shift.device).expand(*shift.shape[:2], 1, 4)
        return torch.cat([torch.cat([R, shift[..., None]], -1), bottom], -2)

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """Return M of eq. 1 in the world, (B, V, 3).

        ``offsets`` (V, 3) are added in rest space (dT of eq. 5).
        """
        params = params.batched()
        points = self.rest(params.shape, params.expression)
        if offsets is not None:
            points = points + offsets
        transforms = self.joint_transforms(self.skeleton(params.shape), params.root, params.translation, params.joints)
        return linear_blend_skinning(points, self.skinning_indices, self.skinning_weights, transforms)

    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        """Return ``face478`` on the surface, as far as the model's 51 landmarks reach.

        ``pose33``, ``hand21_left``, ``hand21_right``.
        """
        return self._landmarks.get(name)

    def part(self, name: str) -> torch.Tensor:
        """Return (V,) float 0 to 1, one of the parts that ``BodyModel.part`` lists.

        SMPL-X has no inside of the mouth, and no nails.

        Raises:
            KeyError: no such part.
        """
        return self._parts[name]

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (V,) and (J,) int64: the nearest vertex to the mirrored one, and the joint on the other side."""
        vertices, joints = self._mirror
        return vertices, joints


def _sparse(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert weights (V, J) to joints (V, K) and weights (V, K).

    K is the largest number of joints of any vertex.
    """
    most = max(1, int((weights > 0).sum(1).max()))
    values, indices = weights.topk(most, dim=1)
    return indices, values / values.sum(1, keepdim=True)


def _on(table: SurfaceLandmarks | JointLandmarks | None, device: torch.device) -> SurfaceLandmarks | JointLandmarks | None:
    """Return a table with its tensors on a device."""
    if table is None:
        return None
    return type(table)(**{k: v.to(device) for k, v in vars(table).items()})
