"""Registers the body with one photo, in stages from coarse to fine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch

from avatarkit.appearance.skin import bare_surface
from avatarkit.interfaces import BodyModel, Context, MeshRasterizer
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity, Points
from avatarkit_exavatar.config import ExAvatarConfig
from avatarkit_exavatar.fitting.priors import make_prior
from avatarkit_exavatar.fitting.residuals import Term
from avatarkit_exavatar.fitting.self_collision import clearance
from avatarkit_exavatar.fitting.solver import Prior, minimize
from avatarkit_exavatar.observations.contour import Border, forearms, outline, silhouette_weights
from avatarkit_exavatar.observations.landmarks import landmark_terms, set_points
from avatarkit_exavatar.observations.observation import Observation
from avatarkit_exavatar.photo.hidden_hands import order_hands, tuck_hands
from avatarkit_exavatar.photo.initialization import camera_distance, find_pose

__all__ = ["PhotoFit"]

logger = logging.getLogger("avatarkit.exavatar")


@dataclass
class PhotoFit:
    """The unknowns of one photo and how far they have come; ``run`` comes first, then ``hide_hands``, then ``order_hands``.

    ``skin``: (H, W) 0 to 1, pixels that look like the person's skin. ``partially_visible``: as in ``Quality``.
    """

    body: BodyModel
    parameters: Parameters
    config: ExAvatarConfig
    observation: Observation
    camera: Camera
    matte: Matte
    rasterizer: MeshRasterizer
    context: Context
    skin: torch.Tensor | None = None
    x: torch.Tensor = field(init=False)
    prior: Prior = field(init=False)
    partially_visible: tuple[str, ...] = ()

    def run(self) -> torch.Tensor:
        """(P,) the fitted vector."""
        say = self.context.progress
        seen = self.observation.visible
        hands = {"left": seen["left_hand"], "right": seen["right_hand"]}
        self.prior = make_prior(self.body, self.parameters, self.config, hands)
        say("finding the pose", 0.0)
        self.x = self.parameters.encode(self.body.neutral())
        kinematics, points = self._identity(movable=False)
        self.x = find_pose(kinematics, points, self.observation, self.camera, self.prior, self.config)
        say("finding the build", 0.3)
        self._refine(self.parameters.free(details=False), self.config.shape_rounds)
        say("finding the details", 0.6)
        self._refine(self.parameters.free(details=True), self.config.detail_rounds)
        say("fitted", 1.0)
        return self.x

    def hide_hands(self) -> torch.Tensor:
        """(P,) the same, with hands that no detector found moved to where they do not show; fills ``partially_visible``."""
        self.x, self.partially_visible = tuck_hands(
            self.parameters, self.x, self.observation, self.camera, self.matte, self.skin, self.rasterizer
        )
        return self.x

    def order_hands(self, offsets: torch.Tensor) -> torch.Tensor:
        """(P,) the same, with found hands before or behind the dressed body, of ``offsets`` (V, 3), as the photo shows them."""
        if self.skin is not None:
            self.x = order_hands(
                self.parameters, self.x, offsets, self.observation, self.camera, self.matte, self.skin, self.rasterizer
            )
        return self.x

    def _identity(self, movable: bool) -> tuple[Kinematics, dict[str, Points]]:
        identity = Identity(self.body, self.x[self.parameters.layout.shape], movable)
        points = {name: set_points(identity, seen) for name, seen in self.observation.sets.items()}
        return Kinematics(self.body, self.parameters, identity), points

    def _terms(self, points: dict[str, Points]) -> list[Term]:
        distance = camera_distance(self.parameters, self.camera, self.x)
        return landmark_terms(points, self.observation, self.camera, distance, self.config, set(points))

    def _refine(self, free: torch.Tensor, rounds: int) -> None:
        """Everything with the outlines of the person and of bare forearms, which are matched anew every round."""
        faces, config = self.body.faces, self.config
        person, skin = self._border(self.matte.alpha), None
        outside, inside = silhouette_weights(self.body, self.observation)
        bare = torch.zeros_like(outside)
        if self.skin is not None:
            vertices = self.body.vertices(self.parameters.decode(self.x))[0]
            bare = bare_surface(self.body, vertices, self.camera, self.matte.alpha, self.skin, self.rasterizer)
            skin = self._border(self.skin * self.matte.alpha)
        bare_arms = forearms(self.body, bare, self.observation)
        for _ in range(rounds):
            kinematics, points = self._identity(movable=True)
            identity = kinematics.identity
            vertices = self.body.vertices(self.parameters.decode(self.x))[0]
            drawn = self.rasterizer.render(Mesh(vertices, faces), person.small_camera)
            shown = drawn.face_index >= 0
            contour = outline(shown.numpy(), 1.5)
            weight = config.silhouette_weight / max(1, len(contour[0]))
            weights, count = (outside, config.silhouette_inside * inside), config.silhouette_points
            outlines = [person.match(identity, drawn, contour, weights, True, weight, count)]
            if skin is not None:
                shown &= (bare[faces].amin(1) > 0.5)[drawn.face_index.clamp(min=0)]
                contour = outline(shown.numpy(), 1.5)
                outlines.append(skin.match(identity, drawn, contour, (bare_arms, bare_arms), False, weight, count))
            terms = [*self._terms(points), *(lines for lines in outlines if lines is not None)]
            terms.append(clearance(identity, config.clearance_weight))
            self.x = minimize(kinematics, self.x, terms, self.prior, free, config.shape_iterations)

    def _border(self, area: torch.Tensor) -> Border:
        return Border(area, self.camera, self.observation.head_pixels, self.config.silhouette_pixels)
