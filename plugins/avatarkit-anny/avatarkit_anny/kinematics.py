"""Forward kinematics without a step per joint."""

from __future__ import annotations

import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix

__all__ = ["Tree", "nearest_rotations"]


class Tree:
    """A joint hierarchy; parents come before children and joint 0 is the root."""

    def __init__(self, parents: tuple[int, ...]) -> None:
        # Pointer jumping: after step k every joint holds the product of its last 2**k ancestors, so that a tree of
        # depth 17 takes 5 batched products. Joint number J stands for "above the root", the identity.
        count = len(parents)
        ancestor = torch.tensor([*(parent if parent >= 0 else count for parent in parents), count])
        self._jumps = []
        while (ancestor[:-1] != count).any():
            self._jumps.append(ancestor)
            ancestor = ancestor[ancestor]

    def transforms(
        self, heads: torch.Tensor, root: torch.Tensor, translation: torch.Tensor, joints: torch.Tensor
    ) -> torch.Tensor:
        """Return rest space to world.

        Args:
            heads: (J, 3) joints at rest.
            root: (B, 3) axis-angle.
            translation: (B, 3) where joint 0 goes.
            joints: (B, J, 3) axis-angle about each joint in rest-space axes; row 0 is ignored.

        Returns:
            (B, J, 4, 4).
        """
        batch = root.shape[0]
        rotation = axis_angle_to_matrix(torch.cat([root[:, None], joints[:, 1:]], 1))
        # Each joint turns about its own head; the root also moves there.
        target = torch.cat([translation[:, None], heads[None, 1:].expand(batch, -1, -1)], 1)
        shift = target - (rotation @ heads[..., None])[..., 0]
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=heads.dtype, device=heads.device)
        local = torch.cat([torch.cat([rotation, shift[..., None]], -1), bottom.expand(batch, len(heads), 1, 4)], -2)
        identity = torch.eye(4, dtype=heads.dtype, device=heads.device).expand(batch, 1, 4, 4)
        world = torch.cat([local, identity], 1)
        for ancestor in self._jumps:
            world = world[:, ancestor] @ world
        return world[:, :-1]


def nearest_rotations(matrices: torch.Tensor) -> torch.Tensor:
    """Return the rotations (..., 3, 3) closest to ``matrices``, as constants.

    The derivative of an SVD is not stable.
    """
    with torch.no_grad():
        U, _, Vh = torch.linalg.svd(matrices)
        U[..., 2] *= torch.linalg.det(U @ Vh).sign()[..., None]  # a turn, not a mirror
        return U @ Vh
