"""The coupled 3DGS-mesh avatar (paper, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from avatarkit.appearance.painter import FOLDED, PhotoPainter
from avatarkit.appearance.parsing import LABELS
from avatarkit.appearance.shared_painter import shared_painter
from avatarkit.errors import StoreError
from avatarkit.geometry.mesh_graph import dilate
from avatarkit.geometry.rotations import matrix_to_quaternion, multiply_quaternions
from avatarkit.interfaces import BodyModel, ColorTarget, Context, ParameterGroup, Posed, Renderer, Subject, TensorSpec
from avatarkit.types.body import BodyParams
from avatarkit.types.gaussians import Gaussians, rotate_sh
from avatarkit.types.mesh import Mesh, barycentric, vertex_normals
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit_coupled_gs.color_solver import MOST, Smoothness, solve_colors
from avatarkit_coupled_gs.config import CoupledConfig
from avatarkit_coupled_gs.deformation.ellipsoids import surface_ellipsoids, turns
from avatarkit_coupled_gs.deformation.rigid import INFLUENCES, blend, move, undo
from avatarkit_coupled_gs.deformation.skinning import AFFINE, POSITION, skin_bound, transform
from avatarkit_coupled_gs.deformation.surface import PosedBody, PosedSurface
from avatarkit_coupled_gs.linear import LinearMap
from avatarkit_coupled_gs.placement.binding import bind_to_surface, part_factors, photo_factors
from avatarkit_coupled_gs.placement.growth import Seeds, lasting, seed
from avatarkit_coupled_gs.placement.placing import place_parts
from avatarkit_coupled_gs.topology import Topology, neighbors

__all__ = ["CoupledAvatar"]

_SH0 = 0.28209479177387814  # zeroth spherical harmonic: rgb = 0.5 + _SH0 * sh0, as in 3DGS
# The paper's alpha = 1, as its rasterizer blends it: 3DGS lets no Gaussian cover more than 0.99 of what lies behind. With 1
# itself, rasterizers that stop before the last light is gone would leave a tenth of the background in some pixels.
_OPACITY = 0.99
_HIDDEN = 10.0  # how many times smoother solved colors are that the photo does not show, as ``LaplacianConfig.unseen``
_AROUND_EYES = 8  # rings of vertices
_LASHES = 0.7  # how much darker lashes are than what they lie on
_IN_FINGERS = 0.0025  # meters; deeper ones of both sides would meet
_SHADE, _LIGHT = 0.45, 1.5  # how dark and bright bare skin may become against its first color: beside it lie other things
_LEAST_SHOWN = 0.1  # below which the photo says nothing about a Gaussian
_LIMBS = "upper_arm", "forearm", "hand", "leg"
_FIXED = ("shape", "triangles", "weights", "seed_offset", "seed_joints", "seed_weights")


class CoupledAvatar:
    """N isotropic, opaque Gaussians, or ellipsoids by option, bound to a deformed, skinned mesh.

    Tensors, all in canonical (rest) space:
        dX: (N, 3) Gaussian deformation (eq. 4). dT: (V, 3) mesh deformation (eq. 5).
        log_scale: (N,) logarithm of the standard deviation in meters. sh0: (N, 3) color.
        opacity: (N,) logit; the surface is opaque (paper, section 3.1), what grows outside it learns how thin hair is.
        triangles, weights: (N, 3) binding (eq. 3); of the last M, which are grown outside the surface, only for its
        expression. seed_offset: (N, 3) where Gaussians start, relative to their binding.
        seed_joints, seed_weights: (M, 4) joints that move them rigidly, and how much. shape: (S,) identity of the body model.

    With the option ``anisotropic`` also log_aspect: (N, 3), logarithms of the scales along three axes over exp(log_scale), and
    rotation: (N, 4), from these axes to rest; with ``sh_degree`` sh: (N, K, 3), see ``Gaussians``, in axes of the rest pose.
    """

    def __init__(self, config: CoupledConfig, context: Context) -> None:
        self.config, self.context = config, context
        self.body: BodyModel = context.get("body")
        self.device = context.device
        self._learnt = ["dX", "dT", "log_scale", "sh0", "opacity"]
        self._learnt += ["log_aspect", "rotation"] * config.anisotropic + ["sh"] * (config.sh_degree > 0)
        self.dX = self.dT = self.log_scale = self.sh0 = self.opacity = torch.zeros(0)
        self.log_aspect = self.rotation = self.sh = torch.zeros(0)
        self.shape = self.triangles = self.weights = self.seed_offset = torch.zeros(0)
        self.seed_joints = self.seed_weights = torch.zeros(0, INFLUENCES)
        self.template = torch.zeros(0)
        self._topology: Topology | None = None
        self._surface: PosedSurface | None = None
        self._bary: LinearMap | None = None
        self._constants: dict[str, tuple[list[tuple[torch.Tensor, int]], tuple[torch.Tensor, ...]]] = {}
        self._held: torch.Tensor | None = None  # (N, 1) bool, Gaussians of eyes and lids
        self._darker: torch.Tensor | None = None  # (N, 1) how much darker solved colors may become
        self._bounds: tuple[torch.Tensor, torch.Tensor] | None = None  # (N, 3) each, of sh0
        self._taught = torch.full((1, 1), config.label_color)
        self.hidden: torch.Tensor | None = None  # (N, 1) 0 to 1, what labels show and the photo does not; None: they know no more

    # ------------------------------------------------------------------------------------------------ initialization

    def create(self, subject: Subject, labels: Sequence[LabelClip]) -> None:
        """See ``AvatarModel.create``; of the labels only whether they know more than the photo matters."""
        known = all(clip.from_photo for clip in labels)
        config, body, renderer = self.config, self.body, self.context.get("renderer")
        eye, hand = config.eye_factor, config.hand_factor
        factors = {"face": config.face_factor, "eyelids": 2 * config.face_factor, "left_hand": hand, "right_hand": hand}
        factors |= {"eyes": eye, "tongue": eye, "teeth": eye}
        fine = part_factors(body, factors)
        if config.photo_factor > 1:
            fine = photo_factors(subject, body, config.resolution, fine, config.photo_factor)
        binding = bind_to_surface(body, config.resolution, fine)
        painter = shared_painter(subject, body, renderer, keep=False)
        paint = painter.paint(binding.face, binding.barycentric)
        self.shape = subject.params.shape.float()
        self.triangles, self.weights = binding.triangles, binding.barycentric
        self.seed_offset = torch.zeros(len(binding), 3)
        self.seed_joints, self.seed_weights = torch.zeros(0, INFLUENCES, dtype=torch.int64), torch.zeros(0, INFLUENCES)
        self.dT = subject.vertex_offsets.float().clone()
        self._prepare()
        color, texel, confidence, shown = paint.rgb, binding.texel, paint.confidence, paint.shown
        scale, opacity = torch.full((len(binding),), -1.0), torch.full((len(binding),), _OPACITY)
        if config.grow:
            seeds = self._grow(subject, renderer, painter)
            color = torch.cat([color, seeds.color])
            opacity = torch.cat([opacity, seeds.opacity])
            scale = torch.cat([scale, seeds.scale])
            texel = torch.cat([texel, torch.full((len(seeds.face), 3), -1)])
            confidence, shown = (torch.cat([t, torch.ones(len(seeds.face))]) for t in (confidence, shown))
        shown = torch.where(shown < _LEAST_SHOWN, 0.0, shown)
        self.photo_confidence, self._shown = confidence, shown[:, None]
        skin = torch.zeros(len(color), 1, dtype=torch.bool)
        skin[: len(binding), 0] = paint.skin
        darkest, brightest = ((share * color - 0.5) / _SH0 for share in (_SHADE, _LIGHT))
        self._bounds = (
            torch.where(skin, darkest, -torch.inf).to(self.device),
            torch.where(skin, brightest, torch.inf).to(self.device),
        )
        self.hidden = None if known else 1 - self._shown
        self._absent = self._undetected_hands(subject)
        self._absent[: len(binding)] &= ~paint.seen
        self._absent[len(binding) :] = False
        # Open eyes fold the lids away: what the photo shows at their edge must not be painted over all of them, nor over eyes.
        held = dilate(body.part("eyelids") > 0.5, body.faces, 2) | (body.part("eyes") > 0.5)
        held = barycentric(torch.maximum(held.float(), painter.folded)[:, None], self.triangles, self.weights)
        self._held = (held > 0.3).to(self.device)
        lashes = (body.part("eyes") > 0.5) | ((body.part("eyelids") > 0.5) & (painter.folded < FOLDED))
        lashes = barycentric(lashes.float()[:, None], self.triangles, self.weights) > 0.5
        self._darker = torch.where(lashes, _LASHES, MOST).to(self.device)
        delicate = dilate(body.part("eyelids") > 0.5, body.faces, _AROUND_EYES).float()
        for side in ("left", "right"):
            delicate = torch.maximum(delicate, body.part(f"{side}_hand"))
        self.delicate = barycentric(delicate[:, None], self.triangles, self.weights)[:, 0].to(self.device)
        self.dX = barycentric(self.dT, self.triangles, self.weights)
        self.sh0 = (color - 0.5) / _SH0
        self.opacity = opacity.logit()
        self._connect(texel, scale)
        n, c = len(binding), self.config
        self.seed_offset[:n] = self._inset(n)
        if c.anisotropic:
            rotation, aspect = surface_ellipsoids(body, self.template, self.triangles[:n], c.thickness, c.aspect_limit)
            self.rotation = torch.eye(1, 4).repeat(len(self.triangles), 1)
            self.log_aspect = torch.zeros(len(self.triangles), 3)
            self.rotation[:n], self.log_aspect[:n] = rotation, aspect
        self.sh = torch.zeros(len(self.triangles), (c.sh_degree + 1) ** 2 - 1, 3)
        self._to_device()

    def _undetected_hands(self, subject: Subject) -> torch.Tensor:
        """(N,) bool: Gaussians of hands that no detector found; the fit may have put them in front of something."""
        lost = torch.zeros(len(self.body.skinning_weights))
        for side in ("left", "right"):
            if not subject.quality.visible.get(f"{side}_hand", True):
                lost = torch.maximum(lost, self.body.part(f"{side}_hand"))
        return barycentric(lost[:, None], self.triangles, self.weights)[:, 0] > 0.5

    def _grow(self, subject: Subject, renderer: Renderer, painter: PhotoPainter) -> Seeds:
        """Add the Gaussians that ``growth`` asks for, carried back from the photo's pose to rest."""
        config, body = self.config, self.body
        posed = self.surface(subject.params).to("cpu")
        vertices = transform(posed.vertices[:, AFFINE], posed.vertices[:, POSITION] + self.dT)
        seen = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
        fitted = torch.where(seen.face_index >= 0, painter.labels[body.faces[seen.face_index.clamp(min=0), 0]], -1)
        places = place_parts(painter.parsing, body, painter.labels, vertices, painter.bareness > 0.5, config.held == "keep")
        seeds = seed(subject, seen, fitted, painter.parsing, places, config)
        limbs = torch.tensor([name.endswith(_LIMBS) for name in LABELS])[seeds.label]
        outlined = bool(subject.vertex_offsets.any()) and not painter.parsing.gloved  # hands
        found = [side for side in ("left", "right") if outlined and subject.quality.visible.get(f"{side}_hand", True)]
        fitted_hands = torch.isin(seeds.label, torch.tensor([LABELS.index(f"{side}_hand") for side in found], dtype=torch.int64))
        limbs &= ~painter.suits(seeds.face, seeds.barycentric, seeds.color)  # what is seen between fingers
        seeds = seeds[~limbs & ~fitted_hands]
        rest = undo(blend(posed.joints, seeds.joints, seeds.weights), seeds.position)
        still = self.template + self.dT
        kept = lasting(seeds, rest, barycentric(still, self.triangles, self.weights))
        seeds, rest = seeds[kept], rest[kept]
        triangles = body.faces[seeds.face]
        at = barycentric(posed.vertices[:, :3] + self.dT, triangles, seeds.barycentric)
        self.triangles = torch.cat([self.triangles, triangles])
        self.weights = torch.cat([self.weights, seeds.barycentric])
        self.seed_offset = torch.cat([self.seed_offset, rest - at])
        self.seed_joints, self.seed_weights = seeds.joints, seeds.weights
        self._prepare()
        return seeds

    def _connect(self, texel: torch.Tensor, scale: torch.Tensor) -> None:
        """Set the connectivity, and first scales from it where ``scale`` is negative."""
        deformed = self.template + self.dT
        positions = barycentric(deformed, self.triangles, self.weights) + self.seed_offset
        a, b, c = (deformed[self.triangles[:, k]] for k in range(3))
        normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        near = neighbors(texel, positions, normals)
        gaps = (positions[near] - positions[:, None]).norm(dim=-1)
        spacing = gaps.sum(1) / (gaps > 0).sum(1).clamp(min=1)
        spacing = torch.where(spacing > 0, spacing, spacing[spacing > 0].median())
        scale = torch.where(scale > 0, scale, self.config.scale_factor * spacing)
        self.log_scale = scale.clamp(self.config.min_scale, self.config.max_scale).log()
        self._topology = Topology.build(near, self.body.faces, self.template)
        self.log_scale_start, self.sh0_start = self.log_scale.clone(), self.sh0.clone()

    def _inset(self, n: int) -> torch.Tensor:
        """(n, 3) how far the first n Gaussians start below the surface, so that what is drawn ends where it does.

        The head is left out: lids and lips are thin, and the photo shows its outline.
        """
        c, hand = self.config, torch.maximum(self.body.part("left_hand"), self.body.part("right_hand"))
        inward = -(1.0 - self.body.part("head"))[:, None] * vertex_normals(self.template + self.dT, self.body.faces)
        at = barycentric(torch.cat([inward, hand[:, None]], 1), self.triangles[:n], self.weights[:n])
        depth = self.log_scale[:n].exp() * (c.inset * c.thickness if c.anisotropic else c.inset)
        depth = torch.where(at[:, 3] > 0.5, depth.clamp(max=_IN_FINGERS), depth)
        return at[:, :3] * depth[:, None]

    def _prepare(self) -> None:
        """Return what follows from the identity alone."""
        self._bary = None
        self._constants.clear()
        self._surface = PosedSurface(self.body, self.shape, self.device)
        self.template = self._surface.template

    def _to_device(self) -> None:
        made = ("template", "log_scale_start", "sh0_start", "photo_confidence", "_shown", "_absent", "_taught", "hidden")
        for name in (*_FIXED, *made):
            if isinstance(getattr(self, name, None), torch.Tensor):
                setattr(self, name, getattr(self, name).to(self.device))
        for name in self._learnt:
            setattr(self, name, getattr(self, name).to(self.device).detach().requires_grad_())
        self._grown = torch.arange(len(self.triangles), device=self.device) >= len(self.triangles) - len(self.seed_joints)

    # ------------------------------------------------------------------------------------------------------- posing

    @property
    def topology(self) -> Topology:
        """Connectivity; only while training."""
        if self._topology is None:
            raise StoreError("this avatar was loaded to be played; its connectivity exists only while it is trained")
        return self._topology

    @property
    def bary(self) -> LinearMap:
        """Bary(.) of eq. 3 at the Gaussians."""
        if self._bary is None:
            self._bary = LinearMap.of_triangles(self.triangles, self.weights, len(self.template))
        return self._bary

    def surface(self, params: BodyParams) -> PosedBody:
        """Return the body in a pose, see ``PosedSurface``."""
        if self._surface is None:
            raise StoreError("this avatar has no tensors yet; create or load it first")
        return self._surface(params)

    def pose(self, params: BodyParams) -> Posed:
        """G and M of eq. 4 and 5 for one frame; ``fields``: dX, dT."""
        return self._posed(params, "body", self._taught, torch.ones_like(self.log_scale))

    def pose_for_photo(self, params: BodyParams) -> Posed:
        """See ``AvatarModel.pose_for_photo``; hands that were not seen are left out. Only while training."""
        if self._topology is None:
            raise StoreError("this avatar was loaded to be played; what its photo shows is known only in training: use pose")
        return self._posed(params, "photo", self._shown, (~self._absent).float())

    def colors(self, share: torch.Tensor) -> torch.Tensor:
        """(N, 3) sRGB, of which a ``share`` (N, 1), 0 to 1, learns."""
        learning = share if self._held is None else torch.where(self._held, 0.0, share)
        return torch.add(self.sh0.new_tensor(0.5), self._possible(_learning(self.sh0, learning)), alpha=_SH0)

    def _possible(self, sh0: torch.Tensor) -> torch.Tensor:
        """(N, 3) zeroth harmonics, of which skin keeps within what shade and light can make of it."""
        return sh0 if self._bounds is None else sh0.clamp(*self._bounds)

    def _near_mesh(self, dX: torch.Tensor) -> torch.Tensor:
        """(N, 3) that stay near the mesh's own deformation; where it ends, the outline would draw single Gaussians off."""
        if self._topology is None:
            return dX
        with torch.no_grad():
            mesh, most = self.bary(self.dT), self.config.max_offset
        return dX.clamp(mesh - most, mesh + most)

    def _learnt_outside_eyes(self, x: torch.Tensor) -> torch.Tensor:
        """(N, ...) of which eyes and lids do not learn."""
        if self._held is None:
            return x
        return _learning(x, (~self._held).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)))

    def solve_colors(self, targets: Sequence[ColorTarget], iterations: int) -> None:
        """See ``AvatarModel.solve_colors``; each color follows as far as the photo shows its Gaussian.

        Eyes and the rims of lids follow, too, and may become much darker: lashes and their shade lie on them.
        """
        with torch.no_grad():
            views = [(self.pose_for_photo(target.params).gaussians, target) for target in targets]
        share = self._shown if self._held is None else torch.where(self._held, 0.0, self._shown)
        if self._darker is not None:
            share = torch.where(self._darker > MOST, (self._shown > 0).float(), share)
        hidden = 1 + _HIDDEN * (1 - self.photo_confidence[:, None])
        smoothness = Smoothness(self.topology.difference, 0.5 + _SH0 * self.sh0_start, hidden)
        change = solve_colors(views, share, smoothness, self.context.get("renderer").gaussians, iterations, self._darker)
        with torch.no_grad():
            self.sh0.add_(change, alpha=1 / _SH0)

    def _posed(self, params: BodyParams, name: str, share: torch.Tensor, present: torch.Tensor) -> Posed:
        """With colors of which a ``share`` learns, and Gaussians that are ``present`` (N,)."""
        body = self.surface(params)
        means, stretch = self._skinned(body)

        def appearance() -> tuple[torch.Tensor, ...]:
            scales = self._learnt_outside_eyes(self.log_scale).exp().clamp(self.config.min_scale, self.config.max_scale)
            opacity = _learning(self.opacity, self._grown).sigmoid()
            return scales, self.colors(share), opacity * present

        scales, colors, opacities = self._while_unchanged(name, (self.log_scale, self.sh0, self.opacity), appearance)
        rows = body.vertices
        mesh = Mesh(transform(rows[:, AFFINE], rows[:, POSITION] + self.dT), self.body.faces.to(self.device))
        gaussians = self._turned(Gaussians(means, scales * stretch, colors, opacities), body)
        return Posed(gaussians, mesh, {"dX": self.dX, "dT": self.dT})

    def _turned(self, gaussians: Gaussians, body: PosedBody) -> Gaussians:
        """Add what the options ask for beyond spheres of one color: it turns with the body."""
        if not self.config.features:
            return gaussians
        turn = turns(body, self.triangles, self.weights, self.seed_joints, self.seed_weights)
        if self.config.anisotropic:
            limit = math.log(self.config.aspect_limit)
            scales = gaussians.scales[:, None] * self.log_aspect.clamp(-limit, limit).exp()
            own = torch.nn.functional.normalize(self.rotation, dim=-1)
            gaussians = replace(gaussians, scales=scales, rotations=multiply_quaternions(matrix_to_quaternion(turn), own))
        return replace(gaussians, sh=rotate_sh(self.sh, turn)) if self.config.sh_degree else gaussians

    def _skinned(self, body: PosedBody) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3) means and (N,) stretch: on the surface by eq. 4, outside it by rigid blends of the joints."""
        n = len(self.triangles) - len(self.seed_joints)
        dX = self._learnt_outside_eyes(self._near_mesh(self.dX))
        means, stretch = skin_bound(body.vertices, self.triangles[:n], self.weights[:n], self.seed_offset[:n], dX[:n])
        if n == len(self.triangles):
            return means, stretch
        at = barycentric(body.vertices[:, :3], self.triangles[n:], self.weights[n:]) + self.seed_offset[n:]
        grown = move(body.joints, self.seed_joints, self.seed_weights, at, dX[n:])
        return torch.cat([means, grown]), torch.cat([stretch, torch.ones_like(stretch[:1]).expand(len(grown))])

    def _while_unchanged(
        self, name: str, inputs: Sequence[torch.Tensor], make: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[torch.Tensor, ...]:
        """Return what ``make`` gives; without a graph it is kept until an input is written or replaced."""
        if torch.is_grad_enabled() or any(t.is_inference() for t in inputs):
            self._constants.clear()  # a fused optimizer writes without counting versions
            return make()
        state = [(t, t._version) for t in inputs]
        kept = self._constants.get(name)
        if kept is None or any(a is not b or v != w for (a, v), (b, w) in zip(kept[0], state, strict=True)):
            kept = self._constants[name] = state, make()
        return kept[1]

    # ------------------------------------------------------------------------------------------- training and storage

    def parameter_groups(self) -> list[ParameterGroup]:
        """Fields, colors and scales, with the step sizes of section 3.4."""
        c = self.config
        groups = [
            ParameterGroup("dX", (self.dX,), c.lr_position),
            ParameterGroup("dT", (self.dT,), c.lr_position),
            ParameterGroup("color", (self.sh0,), c.lr_color),
            ParameterGroup("scale", (self.log_scale,), c.lr_scale),
            ParameterGroup("opacity", (self.opacity,), c.lr_opacity),
        ]
        if c.anisotropic:
            groups.append(ParameterGroup("aspect", (self.log_aspect,), c.lr_scale))
            groups.append(ParameterGroup("rotation", (self.rotation,), c.lr_rotation))
        return groups + [ParameterGroup("sh", (self.sh,), c.lr_color / 20)] * (c.sh_degree > 0)

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors; integers as int32."""
        kept = {k: getattr(self, k) for k in (*self._learnt, *_FIXED)}
        kept |= {"sh0": self._possible(self.sh0), "dX": self._near_mesh(self.dX)}
        out = {k: tensor.detach().cpu().contiguous().clone() for k, tensor in kept.items()}
        out["triangles"], out["seed_joints"] = out["triangles"].int(), out["seed_joints"].int()
        return out

    def specs(self) -> dict[str, TensorSpec]:
        """See ``AvatarModel.specs``. Ranges are far beyond what training reaches; meters, logarithms and logits."""
        V, S = len(self.body.skinning_weights), len(self.body.shape_names)
        moved = TensorSpec(("N", 3), low=-10.0, high=10.0)
        specs = {
            "dX": moved,
            "seed_offset": moved,
            "dT": TensorSpec((V, 3), low=-10.0, high=10.0),
            "log_scale": TensorSpec(("N",), low=-100.0, high=2.3),  # below 10 m
            "sh0": TensorSpec(("N", 3), low=-1e3, high=1e3),
            "opacity": TensorSpec(("N",), low=-1e4, high=1e4),
            "triangles": TensorSpec(("N", 3), torch.int32, 0, V - 1),
            "weights": TensorSpec(("N", 3), low=-1.0, high=2.0),
            "shape": TensorSpec((S,), low=-100.0, high=100.0),
            "log_aspect": TensorSpec(("N", 3), low=-100.0, high=100.0),
            "rotation": TensorSpec(("N", 4), low=-1e3, high=1e3),
            "sh": TensorSpec(("N", (self.config.sh_degree + 1) ** 2 - 1, 3), low=-1e3, high=1e3),
        }
        return {name: spec for name, spec in specs.items() if name in (*self._learnt, *_FIXED)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take ``state`` back; connectivity made by ``create`` stays.

        In avatars of older versions no Gaussian has joints of its own: their triangles move all of them, as they did.
        """
        none = torch.zeros(0, INFLUENCES)
        state = {"seed_joints": none, "seed_weights": none, **state}
        missing = [k for k in (*self._learnt, *_FIXED) if k not in state]
        if missing:
            raise StoreError(f"the avatar's tensors are incomplete: {', '.join(missing)} missing; build it again")
        N, V = len(state["triangles"]), len(self.body.skinning_weights)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("dX", "sh0", "triangles", "weights", "seed_offset"), (N, 3))
        M = len(state["seed_joints"])
        shapes |= {"dT": (V, 3), "log_scale": (N,), "opacity": (N,)}
        shapes |= dict.fromkeys(("seed_joints", "seed_weights"), (M, INFLUENCES))
        more = {"log_aspect": (N, 3), "rotation": (N, 4), "sh": (N, (self.config.sh_degree + 1) ** 2 - 1, 3)}
        shapes |= {name: shape for name, shape in more.items() if name in self._learnt}
        for name, expected in shapes.items():
            if tuple(state[name].shape) != expected:
                raise StoreError(
                    f"the avatar's tensor {name} is {tuple(state[name].shape)} where {expected} belongs: "
                    f"it was made for another version of the body model {self.body.name!r}; build it again"
                )
        if N and not 0 <= int(state["triangles"].min()) <= int(state["triangles"].max()) < V:
            raise StoreError("the avatar's triangles point outside its mesh: the file is damaged; build it again")
        if M > N or (M and not 0 <= int(state["seed_joints"].min()) <= int(state["seed_joints"].max()) < len(self.body.parents)):
            raise StoreError("the avatar's joints are not those of its body: the file is damaged; build it again")
        for name in (*self._learnt, *_FIXED):
            setattr(self, name, state[name].clone())
        self.triangles, self.seed_joints = self.triangles.long(), self.seed_joints.long()
        self._prepare()
        self._to_device()


def _learning(x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return ``x``, of which the gradient takes a share only."""
    return _Learning.apply(x, share)


class _Learning(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad * ctx.share, None
