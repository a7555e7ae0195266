"""Writes motions as BVH files."""

from __future__ import annotations

from pathlib import Path

import torch

from avatarkit.geometry.rotations import axis_angle_to_matrix
from avatarkit.interfaces import BodyModel
from avatarkit.motion.formats.own import soles
from avatarkit.types.body import Motion
from avatarkit.utils.files import write_text

__all__ = ["write_bvh"]

_CENTIMETERS = 100.0


def write_bvh(motion: Motion, body: BodyModel, path: Path) -> None:
    """Write a motion for other programs.

    The file contains all joints of the body model, in centimeters, y up, zero = its rest pose, with the soles at height zero. BVH
    has no expressions; they are left out.

    Raises:
        InputError: the motion is for another body model.
        StoreError: the file cannot be written.
    """
    motion.require_model(body.name)
    p = motion.params
    with torch.no_grad():
        places = body.skeleton(p.shape).positions.double().cpu()
    places[:, 1] -= soles(body, p.shape)
    places = places * _CENTIMETERS
    offsets = [places[j] - (places[parent] if parent >= 0 else 0) for j, parent in enumerate(body.parents)]
    children: list[list[int]] = [[] for _ in body.joint_names]
    for j, parent in enumerate(body.parents[1:], start=1):
        children[parent].append(j)
    order: list[int] = []
    lines = ["HIERARCHY"]

    def write(j: int, depth: int) -> None:
        order.append(j)
        pad = "\t" * depth
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {body.joint_names[j]}")
        lines.append(pad + "{")
        lines.append(f"{pad}\tOFFSET {_row(offsets[j])}")
        position = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{pad}\tCHANNELS {3 if depth else 6} {position}Zrotation Xrotation Yrotation")
        for child in children[j]:
            write(child, depth + 1)
        if not children[j]:
            tip = offsets[j] * 0.5 if depth else torch.tensor([0.0, 1.0, 0.0])
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {_row(tip)}", pad + "\t}"])
        lines.append(pad + "}")

    write(0, 0)
    vectors = p.joints.double().cpu().clone()
    vectors[:, 0] = p.root.double().cpu()
    angles = _zxy(axis_angle_to_matrix(vectors))[:, order]
    position = places[0] + p.translation.double().cpu() * _CENTIMETERS
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.8f}"]
    lines += [_row(torch.cat([a, b.flatten()])) for a, b in zip(position, angles, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def _row(values: torch.Tensor) -> str:
    return " ".join(f"{v:.6f}" for v in values.tolist())


def _zxy(R: torch.Tensor) -> torch.Tensor:
    """Return Euler angles (..., 3) in degrees such that R = Z(first) X(second) Y(third)."""
    x = torch.asin(R[..., 2, 1].clamp(-1, 1))
    z = torch.atan2(-R[..., 0, 1], R[..., 1, 1])
    y = torch.atan2(-R[..., 2, 0], R[..., 2, 2])
    return torch.rad2deg(torch.stack([z, x, y], -1))
