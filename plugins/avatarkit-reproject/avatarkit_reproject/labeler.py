"""Pictures of the person in other poses, from the photo on the fitted mesh."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.appearance.shared_painter import shared_painter
from avatarkit.appearance.texture import inpaint
from avatarkit.geometry.mesh_graph import smoothstep
from avatarkit.interfaces import BodyModel, Context, Renderer
from avatarkit.types.body import Motion
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.types.subject import Subject
from avatarkit.utils.threads import single_threaded
from avatarkit_reproject.config import Config
from avatarkit_reproject.framing import frame_cameras, place, shown_vertices
from avatarkit_reproject.rim import overhang, rim_confidence

__all__ = ["ReprojectLabeler"]

_log = logging.getLogger("avatarkit.reproject")


@dataclass(frozen=True)
class _Prepared:
    """What all clips of a subject share.

    Attributes:
        painter: colors of the surface. thickness: (V,) meters of hair and cloth.
        view: (F, 3) unit direction to the photo's camera in each triangle's own frame.
    """

    painter: PhotoPainter
    thickness: torch.Tensor
    view: torch.Tensor


class ReprojectLabeler:
    """``PseudoLabeler`` that needs no network: exact geometry, the photo's own colors, honest confidence.

    Attributes:
        exact: the pictures show the requested parameters, so that tracking them again is of no use.
    """

    exact = True
    regions = ("body", "head")

    def __init__(self, config: Config, context: Context) -> None:
        self._config, self._context = config, context
        self._last: tuple[Subject, _Prepared] | None = None

    @single_threaded()
    def generate(self, subject: Subject, motion: Motion, seed: int) -> LabelClip:
        """See ``PseudoLabeler.generate``; ``params`` equal ``requested``, since the mesh is drawn in that very pose."""
        config, body, renderer = self._config, self._context.get("body"), self._context.get("renderer")
        prepared = self._prepare(subject, body, renderer)
        params = place(subject, motion, config.frames)
        with torch.no_grad():
            vertices = body.vertices(params, subject.vertex_offsets).float()
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(3, generator=generator) * 2.0 - 1.0
        pan = min(config.pan, 2.0 * config.yaw) * (1.0 if draw[2] > 0 else -1.0)
        middle = float(draw[0]) * (config.yaw - abs(pan) / 2.0)
        yaws = middle + pan * torch.linspace(-0.5, 0.5, config.frames)
        shown = vertices[:, shown_vertices(subject, body, config.region)]
        cameras = frame_cameras(subject.camera, shown, yaws, float(draw[1]) * config.pitch, config.size, config.margin)
        frames = [self._draw(v, camera, prepared, body, renderer) for v, camera in zip(vertices, cameras, strict=True)]
        rgb, alpha, confidence = (torch.stack([f[k] for f in frames]) for k in range(3))
        _log.debug("clip %s: %d frames, yaw %.0f to %.0f", motion.name, config.frames, yaws[0], yaws[-1])
        name = f"{config.region}-{motion.name}-{seed}"
        return LabelClip(name, config.region, rgb, alpha, confidence, params, params, cameras, from_photo=True)

    def _prepare(self, subject: Subject, body: BodyModel, renderer: Renderer) -> _Prepared:
        if self._last is not None and self._last[0] is subject:
            return self._last[1]
        scaled = _at_label_scale(subject, body, self._config)
        painter = shared_painter(subject, body, renderer) if scaled is subject else PhotoPainter(scaled, body, renderer)
        thickness = overhang(subject, painter.vertices, body, renderer)
        prepared = _Prepared(painter, thickness, _local_view(painter.vertices, body.faces, subject.camera))
        self._last = (subject, prepared)
        return prepared

    def _draw(
        self, vertices: torch.Tensor, camera: Camera, prepared: _Prepared, body: BodyModel, renderer: Renderer
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One frame: colors (H, W, 3), matte and confidence (H, W), all uint8."""
        n = self._config.supersampling
        fine = camera.resized(camera.width * n, camera.height * n)
        mesh = Mesh(vertices, body.faces)
        with torch.no_grad():
            drawn = renderer.meshes.render(mesh, fine)
        hit = drawn.face_index >= 0
        face = drawn.face_index[hit]
        paint = prepared.painter.paint(face, drawn.barycentric[hit])
        turned = (_local_view(vertices, body.faces, camera) * prepared.view).sum(-1)[face]
        factor = 0.25 + 0.75 * smoothstep(turned, 0.3, 0.9)  # 73 and 26 degrees away from the photo's view
        layers = torch.zeros(*hit.shape, 5)
        trust = torch.where(paint.seen, paint.confidence * factor, paint.confidence)
        layers[hit] = torch.cat([paint.rgb, torch.stack([trust, torch.ones_like(trust)], 1)], 1)
        small = functional.avg_pool2d(layers.permute(2, 0, 1)[None], n)[0].permute(1, 2, 0)
        alpha = small[..., 4]
        color = small[..., :4] / alpha.clamp(min=1e-6)[..., None]
        rim = rim_confidence(_every(drawn, n), mesh, camera, prepared.thickness, renderer)
        confidence = torch.where(alpha > 0, color[..., 3] * alpha + (1 - alpha), torch.ones_like(alpha)) * rim
        rgb = inpaint(color[..., :3], (alpha > 0).float())  # goes on behind the border: no dark fringe when resized
        return _to_bytes(rgb), _to_bytes(alpha), _to_bytes(confidence)


def _at_label_scale(subject: Subject, body: BodyModel, config: Config) -> Subject:
    """Return the subject with a photo at most twice as fine as the labels' samples: bilinear lookups then see every pixel."""
    part = shown_vertices(subject, body, config.region)
    with torch.no_grad():
        points = body.vertices(subject.params.batched(), subject.vertex_offsets)[0][part]
    extent = subject.camera.project(points)
    tall = float((extent.amax(0) - extent.amin(0))[1])
    wanted = config.size[1] * config.supersampling / max(tall, 1.0)
    if wanted > 0.5:
        return subject
    photo, matte = subject.photo, subject.matte
    height, width = max(16, round(photo.height * wanted)), max(16, round(photo.width * wanted))
    stack = torch.cat([photo.image, matte.foreground, matte.alpha[..., None]], -1).permute(2, 0, 1)[None]
    small = functional.interpolate(stack, (height, width), mode="bilinear", antialias=True, align_corners=False)
    small = small[0].permute(1, 2, 0)
    return replace(
        subject,
        photo=replace(photo, image=small[..., :3], alpha=None),
        matte=replace(matte, foreground=small[..., 3:6].contiguous(), alpha=small[..., 6].contiguous()),
        camera=subject.camera.resized(width, height),
    )


def _local_view(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera) -> torch.Tensor:
    """(F, 3) unit direction to the camera in each triangle's frame (first edge, normal, their cross product)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    edge = functional.normalize(b - a, dim=-1)
    normal = functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    frame = torch.stack([edge, torch.linalg.cross(normal, edge), normal], -2)
    view = functional.normalize(camera.position - (a + b + c) / 3.0, dim=-1)
    return (frame @ view[..., None])[..., 0]


def _every(drawn: MeshRendering, n: int) -> MeshRendering:
    """One sample per pixel out of n x n."""
    half = n // 2
    return MeshRendering(
        *(t[half::n, half::n].contiguous() for t in (drawn.mask, drawn.face_index, drawn.barycentric, drawn.depth))
    )


def _to_bytes(image: torch.Tensor) -> torch.Tensor:
    return (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
