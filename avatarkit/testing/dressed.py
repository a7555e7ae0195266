"""Synthetic dressed people: photos of them, and the truth in other poses and views.

Three people with hair and loose clothes are made from a body model (see ``PEOPLE``). Skin, garments and hair are textured
surfaces that move with the body. The picture of a person in any pose and view is therefore known, and which of its pixels the
photo shows. The photo is taken from the front; the others are ``VIEWS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from avatarkit.animation import LoadedAvatar, load
from avatarkit.config import Recipe
from avatarkit.geometry.rotations import matrix_to_axis_angle
from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.io.image import save_png
from avatarkit.metrics import psnr
from avatarkit.pipeline.build import build
from avatarkit.registry import Registry
from avatarkit.storage.serialization import save_keypoints
from avatarkit.testing.truth import Direction, Noise, aimed, framed, landmark_places, seen_keypoints
from avatarkit.testing.wardrobe.outfits import PEOPLE, dressed_pieces
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera, orbit
from avatarkit.types.mesh import Mesh, vertex_normals
from avatarkit.utils.threads import single_threaded

__all__ = ["PEOPLE", "PHOTO", "VIEWS", "Drawn", "DressedPerson", "Score", "View", "build_dressed", "score"]

_SAMPLES = 2  # per pixel and axis
_LIGHT = (0.35, 0.65, 0.9)  # direction to the light in the world; it stays when people move
_AMBIENT, _INNER = 0.66, 0.6  # share of light from everywhere; factor inside of sleeves and skirts
_VISIBLE = 0.012  # meters behind the photo's surface up to which a place counts as shown
_FACING = 0.15  # cosine between surface and view from which the photo shows a place well
_GROUND = 0.5  # gray that both are laid on before they are compared
_ROOM_BESIDE, _ROOM_ABOVE = 0.25, 0.35  # meters around the photo's frame, for arms
_COMPARED = 448  # pixels, longer side of the pictures that are compared


@dataclass(frozen=True)
class View:
    """How a picture differs from the photo.

    Attributes:
        arms: directions of upper arms and forearms, see ``aimed``.
        yaw: degrees that the camera turns around the person.
    """

    arms: Mapping[str, tuple[Direction, Direction]]
    yaw: float = 0.0


def _both(upper: Direction, lower: Direction) -> dict[str, tuple[Direction, Direction]]:
    """Return the same for both arms; x points outwards."""
    return {side: ((sign * upper[0], *upper[1:]), (sign * lower[0], *lower[1:])) for side, sign in (("left", 1), ("right", -1))}


PHOTO = View(_both((0.42, -1.0, 0.0), (0.30, -1.0, 0.25)))
"""Arms hang a little away from the body, hands beside the thighs."""

VIEWS: dict[str, View] = {
    "arms raised": View(_both((1.0, 0.55, 0.1), (0.35, 1.0, 0.1))),
    "arms crossed": View({"left": ((0.28, -1.0, 0.25), (-0.9, 0.12, 0.55)), "right": ((-0.28, -1.0, 0.35), (0.9, 0.32, 0.75))}),
    "turned": View(PHOTO.arms, yaw=30.0),
    "hands forward": View(_both((0.35, -0.8, 0.55), (-0.1, 0.25, 1.0))),
}
"""Name -> what is compared with the truth."""


@dataclass(frozen=True)
class Drawn:
    """A picture of the truth.

    Attributes:
        color: (H, W, 3) sRGB, meant where alpha is above 0.
        alpha: (H, W) coverage.
        face: (sH, sW) int64 triangle of each sample, -1 for none. weights: (sH, sW, 3) barycentric.
        inner: (sH, sW) bool, samples that look at the inside of a garment.
    """

    color: torch.Tensor
    alpha: torch.Tensor
    face: torch.Tensor
    weights: torch.Tensor
    inner: torch.Tensor


class DressedPerson:
    """One of ``PEOPLE``, standing in front of a camera.

    Args:
        name: of the person.
        body: the model that the person is made of.
        meshes: draws triangles.

    Attributes:
        params: as in the photo. camera: of the photo.
    """

    @single_threaded()
    def __init__(self, name: str, body: BodyModel, meshes: MeshRasterizer) -> None:
        self.name, self.body, self._meshes = name, body, meshes
        look = PEOPLE[name]
        self.figure, pieces = dressed_pieces(look, body)
        start = [0]
        for piece in pieces:
            start.append(start[-1] + len(piece.rest))
        self._rest = torch.cat([p.rest for p in pieces])
        self._weights = torch.cat([p.weights for p in pieces])
        self._extra = torch.cat([p.extra for p in pieces])
        self._faces = torch.cat([p.faces + first for p, first in zip(pieces, start, strict=False)])
        self._owner = torch.repeat_interleave(torch.arange(len(pieces)), torch.tensor([len(p.faces) for p in pieces]))
        self._patterns = [p.pattern for p in pieces]
        neutral = replace(body.neutral(), shape=self.figure.shape)
        self.params, self.camera = framed(aimed(body, neutral, PHOTO.arms), look.crop)

    def pose(self, view: View) -> BodyParams:
        """Return the person with other arms, on the same spot."""
        return aimed(self.body, replace(self.params, joints=torch.zeros_like(self.params.joints)), view.arms)

    def trunk(self, params: BodyParams) -> torch.Tensor:
        """(3,) middle of the spine, neck and head, which tells where a person of any shape stands."""
        return _trunk(self.body, params)

    def vertices(self, params: BodyParams) -> torch.Tensor:
        """(V, 3) of all pieces in the world."""
        A = self.figure.transforms(params)
        mixed = (self._weights @ A[:, :3].reshape(len(A), 12)).reshape(-1, 3, 4)
        return (mixed[..., :3] @ self._rest[..., None])[..., 0] + mixed[..., 3]

    @single_threaded()
    def draw(self, params: BodyParams, camera: Camera) -> Drawn:
        """Draws the person, with ``_SAMPLES`` squared samples per pixel."""
        large = camera.resized(_SAMPLES * camera.width, _SAMPLES * camera.height)
        vertices = self.vertices(params)
        drawn = self._meshes.render(Mesh(vertices, self._faces), large)
        hit = drawn.face_index >= 0
        face, weights = drawn.face_index[hit], drawn.barycentric[hit].float()
        corners = self._faces[face]

        def mixed(values: torch.Tensor) -> torch.Tensor:
            return (values[corners] * weights[..., None]).sum(1)

        color, arm = mixed(self._extra).split([3, 1], 1)
        color, places = color.clone(), mixed(self._rest)
        flat = self.figure.flat(places, arm[:, 0])
        for number, pattern in enumerate(self._patterns):
            rows = (self._owner[face] == number).nonzero()[:, 0]
            color[rows] *= pattern(places[rows], flat[rows])
        normal = torch.nn.functional.normalize(mixed(vertex_normals(vertices, self._faces)), dim=1)
        behind = (normal * (camera.position - mixed(vertices))).sum(1) < 0
        normal = torch.where(behind[:, None], -normal, normal)
        light = torch.nn.functional.normalize(torch.tensor(_LIGHT), dim=0)
        shade = _AMBIENT + (1 - _AMBIENT) * (normal @ light).clamp(min=0)
        color *= (shade * torch.where(behind, _INNER, 1.0))[:, None]
        samples = torch.zeros(*hit.shape, 4)
        samples[hit] = torch.cat([color.clamp(0, 1), torch.ones(len(color), 1)], 1)
        mean = _pooled(samples)
        inner = torch.zeros_like(hit)
        inner[hit] = self._away(vertices, corners, camera, weights) < 0
        rgb = mean[..., :3] / mean[..., 3:].clamp(min=1e-6)
        return Drawn(rgb, mean[..., 3], drawn.face_index, drawn.barycentric.float(), inner)

    def _away(self, vertices: torch.Tensor, corners: torch.Tensor, camera: Camera, weights: torch.Tensor) -> torch.Tensor:
        """(n,) cosine between triangles (n, 3) and the view of them; negative where it meets their inside."""
        a, b, c = vertices[corners].unbind(1)
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
        places = (vertices[corners] * weights[..., None]).sum(1)
        return (normal * torch.nn.functional.normalize(camera.position - places, dim=1)).sum(1)

    @cached_property
    def _photo(self) -> tuple[Camera, torch.Tensor, torch.Tensor]:
        """Camera of the photo's samples, vertices in the world, and depth (sH, sW) in meters."""
        large = self.camera.resized(_SAMPLES * self.camera.width, _SAMPLES * self.camera.height)
        vertices = self.vertices(self.params)
        return large, vertices, self._meshes.render(Mesh(vertices, self._faces), large).depth

    @single_threaded()
    def shown(self, drawn: Drawn) -> torch.Tensor:
        """(H, W) share of each pixel's samples whose surface the photo shows, 0 to 1."""
        large, vertices, depth = self._photo
        hit = drawn.face >= 0
        corners, weights = self._faces[drawn.face[hit]], drawn.weights[hit]
        places = (vertices[corners] * weights[..., None]).sum(1)
        facing = self._away(vertices, corners, self.camera, weights)
        facing = torch.where(drawn.inner[hit], -facing, facing)
        pixel = large.project(places).floor().long()
        inside = ((pixel >= 0) & (pixel < torch.tensor([large.width, large.height]))).all(1)
        x, y = pixel[:, 0].clamp(0, large.width - 1), pixel[:, 1].clamp(0, large.height - 1)
        near = (large.to_camera(places)[:, 2] - depth[y, x]).abs() < _VISIBLE
        seen = torch.zeros(*hit.shape, 1)
        seen[hit] = (inside & near & (facing > _FACING)).float()[:, None]
        samples = torch.cat([seen, hit[..., None].float()], -1)
        mean = _pooled(samples)
        return mean[..., 0] / mean[..., 1].clamp(min=1e-6)

    @single_threaded()
    def write_photo(self, folder: Path) -> Path:
        """Write ``photo.png`` with what the components ``truth`` read; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = self.draw(self.params, self.camera)
        save_png(folder / "cutout.png", torch.cat([drawn.color, drawn.alpha[..., None]], -1))
        down = torch.linspace(0, 1, self.camera.height)[:, None, None]
        wall = torch.tensor([0.74, 0.75, 0.77]) - 0.12 * down
        alpha = drawn.alpha[..., None]
        save_png(folder / "photo.png", drawn.color * alpha + wall * (1 - alpha))
        places = landmark_places(self.body, self.params)
        exact = seen_keypoints(places, self.params.translation, self.camera, Noise(), torch.Generator().manual_seed(0))
        save_keypoints([exact], folder / "landmarks.safetensors")
        return folder / "photo.png"


def _pooled(samples: torch.Tensor) -> torch.Tensor:
    """(H, W, C) means of (sH, sW, C)."""
    return torch.nn.functional.avg_pool2d(samples.permute(2, 0, 1)[None], _SAMPLES)[0].permute(1, 2, 0)


def _world(body: BodyModel, params: BodyParams) -> torch.Tensor:
    """(J, 4, 4) rest space to world of one frame."""
    p = params.batched()
    return body.joint_transforms(body.skeleton(p.shape), p.root, p.translation, p.joints)[0]


def _trunk(body: BodyModel, params: BodyParams) -> torch.Tensor:
    A = _world(body, params)
    places = (A[:, :3, :3] @ body.skeleton(params.shape).positions[..., None])[..., 0] + A[:, :3, 3]
    rows = [j for g in body.pose_groups if g.name.startswith(("spine", "neck", "head")) for j in g.joints]
    return places[rows].mean(0)


# ------------------------------------------------------------------------------------------------------------ comparison


def build_dressed(
    person: DressedPerson, folder: Path, registry: Registry, preset: str = "instant", detect: bool = False
) -> LoadedAvatar:
    """Build an avatar from a person's photo.

    Args:
        person: whose photo is written to ``folder/photo``.
        folder: gets ``avatar`` as well.
        registry: see ``truth_registry``.
        preset: of the build.
        detect: let the preset's own components find landmarks and matte; they are exact otherwise.
    """
    photo = person.write_photo(folder / "photo")
    truth = {} if detect else {"matting": "truth", "keypoints": "truth"}
    settings = ["preview.seconds=0.2", "preview.height=96", *(f"{slot}.folder={photo.parent.as_posix()}" for slot in truth)]
    recipe = Recipe.load(preset, None, truth, settings)
    build(photo, folder / "avatar", recipe=recipe, registry=registry, device="cpu")
    return load(folder / "avatar", registry, "cpu")


@dataclass(frozen=True)
class Score:
    """How an avatar compares with the truth in one view.

    Attributes:
        psnr: decibels over the person's pixels, truth and avatar on gray.
        shown: decibels over those whose surface the photo shows. hidden: over the others.
        share: of the person's pixels that the photo shows, 0 to 1.
        iou: intersection over union of both silhouettes.
        pictures: (H, 2 W, 3) truth and avatar on gray, side by side.
    """

    psnr: float
    shown: float
    hidden: float
    share: float
    iou: float
    pictures: torch.Tensor


def score(person: DressedPerson, avatar: LoadedAvatar, view: View) -> Score:
    """Compare an avatar that was built from the person's photo with the truth.

    The avatar starts from its own pose in the photo, so that errors of the tracker do not add up. Each of its bones then turns in
    the world as the true one does between the photo and the view. A photo does not tell how large and how far away a person is;
    the avatar stays as large as it was tracked.
    """
    params = person.pose(view)
    start, own = person.trunk(person.params), _trunk(avatar.body, avatar.photo_params)
    size = float(avatar.photo_camera.to_camera(own)[2] / person.camera.to_camera(start)[2])
    posed = _turned(avatar.body, avatar.photo_params, person.params, params)
    moved = own + size * (person.trunk(params) - start) - _trunk(avatar.body, posed)
    posed = replace(posed, translation=posed.translation + moved)

    distance = float(person.camera.to_camera(start)[2])
    truth = person.draw(params, orbit(_wide(person.camera, distance), start, view.yaw))
    theirs = orbit(_wide(avatar.photo_camera, distance), own, view.yaw)
    drawn = avatar.render(posed, camera=theirs, background="transparent")
    covered, person_pixels = drawn[..., 3] > 0.5, truth.alpha > 0.5
    images = [_on_gray(truth.color, truth.alpha), _on_gray(drawn[..., :3], drawn[..., 3])]
    known = person.shown(truth) > 0.5

    def decibels(pixels: torch.Tensor) -> float:
        return psnr(images[0][pixels], images[1][pixels])

    return Score(
        psnr=decibels(person_pixels),
        shown=decibels(person_pixels & known),
        hidden=decibels(person_pixels & ~known),
        share=float((person_pixels & known).sum() / person_pixels.sum()),
        iou=float((covered & person_pixels).sum() / (covered | person_pixels).sum()),
        pictures=torch.cat(images, 1),
    )


def _turned(body: BodyModel, own: BodyParams, start: BodyParams, end: BodyParams) -> BodyParams:
    """Pose of a person whose bones turn in the world as another's do from ``start`` to ``end``."""
    A, B, C = (_world(body, p)[:, :3, :3] for p in (own, start, end))
    turned = C @ B.transpose(1, 2) @ A
    parents = torch.tensor(body.parents).clamp(min=0)
    joints = matrix_to_axis_angle(turned[parents].transpose(1, 2) @ turned)
    return replace(own, root=matrix_to_axis_angle(turned[0]), joints=joints)


def _wide(camera: Camera, distance: float) -> Camera:
    """Return the photo's frame with room at the sides and above for arms, in the size that is compared."""
    meter = float(camera.K[0, 0]) / distance
    side, top = round(_ROOM_BESIDE * meter), round(_ROOM_ABOVE * meter)
    return camera.cropped(-side, -top, camera.width + 2 * side, camera.height + top).scaled_to(_COMPARED)


def _on_gray(color: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return color * alpha[..., None] + _GROUND * (1 - alpha[..., None])
