"""Anny as a ``BodyModel``: a parametric body with hands, face, eyes, tongue and teeth, data in the public domain."""

from __future__ import annotations

import numpy as np
import torch

from avatarkit.interfaces import Context, ShapePrior, Skeleton
from avatarkit.types.body import BodyParams, JointLandmarks, SurfaceLandmarks
from avatarkit.types.mesh import linear_blend_skinning
from avatarkit_anny import phenotype
from avatarkit_anny.blend import BlendShapes, Coefficients
from avatarkit_anny.build import PARTS
from avatarkit_anny.config import AnnyConfig
from avatarkit_anny.kinematics import Tree, nearest_rotations
from avatarkit_anny.landmarks import JOINT_SETS, face_landmarks, joint_landmarks
from avatarkit_anny.pose_groups import pose_groups
from avatarkit_anny.tables import load_tables

__all__ = ["AnnyBody"]

NEUTRAL_AGE = 0.66  # adult; the landmark tables were measured at this age


class AnnyBody:
    """Implements ``BodyModel`` ("Human Mesh Modeling for Anny Body", 2025) without importing ``anny``.

    ``shape`` holds 11 phenotypes, 0 to 1 (age 0 baby, 1/3 child, 2/3 young, 1 old), and 254 signed local changes
    around 0, about -1 to 1. ``expression`` holds the 52 ARKit actions, 0 to 1. A joint turns about its head in
    rest-space axes, starting from each identity's own A-pose. The mesh is Anny's, in its order, followed by the teeth.

    All tensors live on ``context.device``, and so must the arguments of the methods.
    """

    shape_prior: ShapePrior | None = None

    @torch.inference_mode(False)  # what is made here serves training too, wherever the model was made
    def __init__(self, config: AnnyConfig, context: Context) -> None:
        tables, names = load_tables(context)
        device = torch.device(context.device)

        def integers(name: str) -> torch.Tensor:
            return torch.from_numpy(tables[name].astype(np.int64)).to(device)

        def floats(name: str) -> torch.Tensor:
            return torch.from_numpy(tables[name].astype(np.float32)).to(device)

        self.name = "anny"
        self.faces = integers("faces")
        self.uv = floats("uv")
        self.uv_faces = integers("uv_faces")
        self.skinning_indices = integers("skinning_index")
        self.skinning_weights = floats("skinning_weight")
        self.joint_names: tuple[str, ...] = tuple(names["bones"])
        self.parents: tuple[int, ...] = tuple(names["parents"])
        self.shape_names: tuple[str, ...] = (*phenotype.LABELS, *names["local_changes"])
        self.expression_names: tuple[str, ...] = tuple(names["expressions"])
        self.pose_groups = pose_groups(self.joint_names)

        self._device = device
        self._tree = Tree(self.parents)
        self._coefficients = Coefficients(tables, device)
        self._blend = BlendShapes(tables, device)
        self._heads, self._heads_delta = floats("heads"), floats("heads_delta").flatten(1)
        self._frames, self._frames_delta = floats("frames"), floats("frames_delta").flatten(1)
        self._parts = dict(zip(PARTS, floats("parts") / 255.0, strict=True))
        self._mirror = integers("mirror"), self._mirrored_joints()
        self._landmarks: dict[str, SurfaceLandmarks | JointLandmarks] = {}

    def neutral(self) -> BodyParams:
        """Return one frame: average adult, A-pose, no expression, root joint at the origin."""
        shape = torch.zeros(len(self.shape_names), device=self._device)
        shape[: len(phenotype.LABELS)] = 0.5
        shape[phenotype.LABELS.index("age")] = NEUTRAL_AGE
        return BodyParams(
            model=self.name,
            shape=shape,
            expression=torch.zeros(len(self.expression_names), device=self._device),
            root=torch.zeros(3, device=self._device),
            translation=torch.zeros(3, device=self._device),
            joints=torch.zeros(len(self.joint_names), 3, device=self._device),
        )

    def shaped(self, shape: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        """Return vertices at rest without expression.

        Kept for the last few constant shapes, so do not write into them.

        Args:
            shape: (S,).
            subset: (n,) int64 vertex numbers, None = all.

        Returns:
            (V, 3) or (n, 3).
        """
        return self._blend.shaped(shape, self._coefficients, self._blend.vertices(subset))

    def rest(self, shape: torch.Tensor, expression: torch.Tensor, subset: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vertices with shape and expression in the rest pose: T of eq. 2.

        Differentiable.

        Args:
            shape: (S,).
            expression: (B, E).
            subset: (n,) int64 vertex numbers, None = all. The last few subsets are cached.

        Returns:
            (B, V, 3) or (B, n, 3).
        """
        if shape.shape != (len(self.shape_names),) or expression.shape[1:] != (len(self.expression_names),):
            raise ValueError(
                f"shape must be ({len(self.shape_names)},) and expression (B, {len(self.expression_names)}), "
                f"not {tuple(shape.shape)} and {tuple(expression.shape)}"
            )
        vertices = self._blend.vertices(subset)
        moved = (expression @ vertices.expression).reshape(len(expression), -1, 3)
        return self._blend.shaped(shape, self._coefficients, vertices) + moved

    def skeleton(self, shape: torch.Tensor) -> Skeleton:
        """Return the joints of a shape: J(beta) of eq. 1.

        Positions are differentiable, orientations are constants.
        """
        weights = self._coefficients(shape)
        positions = self._heads + (weights @ self._heads_delta).reshape(-1, 3)
        frames = self._frames + (weights.detach() @ self._frames_delta).reshape(-1, 3, 3)
        return Skeleton(positions=positions, orientations=nearest_rotations(frames))

    def joint_transforms(
        self, skeleton: Skeleton, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        """Return the transforms (B, J, 4, 4) from rest space to world, for ``linear_blend_skinning``.

        Differentiable.

        Args:
            skeleton: joints of the identity.
            root: (B, 3) axis-angle of the whole body.
            translation: (B, 3) meters, world position of the root joint.
            joints: (B, J, 3) axis-angle in rest-space axes about each joint; the root's own row is ignored.
        """
        return self._tree.transforms(skeleton.positions, root, translation, joints)

    def vertices(self, params: BodyParams, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """Return the posed vertices in the world, (B, V, 3): M of eq. 1.

        ``offsets`` (V, 3) are added in rest space (dT of eq. 5).
        """
        params = params.batched()
        points = self.rest(params.shape, params.expression)
        if offsets is not None:
            points = points + offsets
        transforms = self.joint_transforms(self.skeleton(params.shape), params.root, params.translation, params.joints)
        return linear_blend_skinning(points, self.skinning_indices, self.skinning_weights, transforms)

    @torch.inference_mode(False)
    def landmarks(self, name: str) -> SurfaceLandmarks | JointLandmarks | None:
        """Return a landmark table, or None for an unknown set.

        ``face478`` is on the surface; ``pose33``, ``hand21_left`` and ``hand21_right`` are in joint frames.
        """
        if name not in self._landmarks:
            if name == "face478":
                self._landmarks[name] = face_landmarks(self._device)
            elif name in JOINT_SETS:
                positions = self.skeleton(self.neutral().shape).positions
                self._landmarks[name] = joint_landmarks(name, self.joint_names, self.parents, positions)
        return self._landmarks.get(name)

    def part(self, name: str) -> torch.Tensor:
        """Return (V,) float 0 to 1, one of the parts that ``BodyModel.part`` lists.

        Raises:
            KeyError: no such part.
        """
        return self._parts[name]

    def mirror(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of the mirrored vertices (V,) and joints (J,), int64."""
        return self._mirror

    def _mirrored_joints(self) -> torch.Tensor:
        other = {"L": "R", "R": "L"}
        names = [f"{n[:-1]}{other[n[-1]]}" if n[-2:] in (".L", ".R") else n for n in self.joint_names]
        return torch.tensor([self.joint_names.index(name) for name in names], device=self._device)
