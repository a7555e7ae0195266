"""How well a fit lies on its photo."""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from avatarkit.interfaces import BodyModel, MeshRasterizer
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Matte, Notice, Quality
from avatarkit_exavatar.body.kinematics import Kinematics
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.body.points import Identity
from avatarkit_exavatar.fitting.residuals import projection
from avatarkit_exavatar.observations.landmarks import set_points
from avatarkit_exavatar.observations.observation import Observation

__all__ = ["judge", "landmark_errors", "mask_overlap"]

_METRIC = {
    "face478": "face_error_percent_head",
    "hand21_left": "left_hand_error_percent_head",
    "hand21_right": "right_hand_error_percent_head",
    "pose33": "body_error_percent_head",
}
_TRUSTED = 0.5  # body points that count for the body error
_FACE = 96  # pixels to which a face is scaled to see whether it is sharp
_WARN_DARK, _WARN_SOFT = 0.2, 0.06  # brightest tenth of the face; share of its contrast in details of a hundredth of it
_WARN_FACE, _WARN_HAND, _WARN_HEAD, _WARN_OVERLAP = 3.0, 8.0, 80.0, 0.6


def landmark_errors(
    body: BodyModel, parameters: Parameters, params: BodyParams, observation: Observation, camera: Camera
) -> dict[str, float]:
    """Mean distance between detected and fitted landmarks, percent of the head's height.

    ``face_error_percent_head`` over all 478 points; ``left_hand_...`` and ``right_hand_...`` over 21;
    ``body_error_percent_head`` over those of the 33 that are clearly seen. Sets that were not seen are absent.
    """
    identity = Identity(body, params.shape, False)
    kinematics = Kinematics(body, parameters, identity)
    posed = kinematics.pose(parameters.encode(params))
    out = {}
    for name, seen in observation.sets.items():
        pixels = projection(camera, kinematics.world(posed, set_points(identity, seen)))[0]
        error = (pixels - seen.pixels).norm(dim=-1)
        if name == "pose33":
            error = error[seen.weight > _TRUSTED]
        if len(error):
            out[_METRIC[name]] = float(error.mean()) / observation.head_pixels * 100
    return out


def mask_overlap(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera, matte: Matte, rasterizer: MeshRasterizer) -> float:
    """Intersection over union of the posed mesh (V, 3) and the matte, at the photo's size."""
    mesh = rasterizer.render(Mesh(vertices, faces), camera).face_index >= 0
    person = matte.alpha > 0.5
    return float((mesh & person).sum()) / max(1.0, float((mesh | person).sum()))


def judge(
    body: BodyModel,
    parameters: Parameters,
    params: BodyParams,
    offsets: torch.Tensor,
    observation: Observation,
    camera: Camera,
    matte: Matte,
    rasterizer: MeshRasterizer,
    partially_visible: tuple[str, ...],
) -> Quality:
    """Metrics, what was seen (``partially_visible`` as in ``Quality``), and notices for the user.

    Metrics besides those of ``landmark_errors``: ``mask_iou`` of the mesh with ``offsets`` (V, 3) and the matte,
    ``mask_iou_without_offsets``, and ``head_pixels``, the face box's diagonal / 1.45.
    """
    metrics = landmark_errors(body, parameters, params, observation, camera)
    for name, moved in (("mask_iou", offsets), ("mask_iou_without_offsets", None)):
        vertices = body.vertices(params, moved)[0]
        metrics[name] = mask_overlap(vertices, body.faces, camera, matte, rasterizer)
    metrics["head_pixels"] = observation.head_pixels
    said = _warnings(metrics, observation.visible, partially_visible)
    if "face478" in observation.sets:
        said = [*_of_the_picture(matte.foreground, observation.sets["face478"].pixels), *said]
    return Quality(metrics, dict(observation.visible), tuple(said), partially_visible)


def _of_the_picture(image: torch.Tensor, face: torch.Tensor) -> list[Notice]:
    """Return what light and focus of a picture (H, W, 3) do to a face, given by its landmarks (n, 2)."""
    (x0, y0), (x1, y1) = face.amin(0).long().clamp(min=0).tolist(), face.amax(0).long().tolist()
    window = image[y0 : y1 + 1, x0 : x1 + 1].mean(-1)
    if min(window.shape) < 8:
        return []
    said = []
    if float(window.quantile(0.9)) < _WARN_DARK:
        said.append(Notice("light", "The photo is very dark; one taken in good light would give better colors."))
    size = (_FACE, max(8, round(_FACE * window.shape[1] / window.shape[0])))
    small = functional.interpolate(window[None, None], size, mode="bilinear", align_corners=False, antialias=True)[0, 0]
    fine = torch.from_numpy(gaussian_filter(small.numpy(), 1.0))
    if float((small - fine).std() / small.std().clamp(min=1e-6)) < _WARN_SOFT:
        said.append(Notice("focus", "The photo is blurred; a sharper one would give a better likeness."))
    return said


def _warnings(metrics: dict[str, float], visible: dict[str, bool], partially_visible: tuple[str, ...]) -> list[Notice]:
    said = []
    if not visible["face"]:
        said.append(Notice("face", "No face was found: expression and gaze are neutral; landmarks of the body pose the head."))
    elif metrics.get("face_error_percent_head", 0.0) > _WARN_FACE:
        said.append(Notice("face", "The face could not be fitted well; a frontal photo would give a better likeness."))
    if metrics["head_pixels"] < _WARN_HEAD:
        said.append(Notice("size", f"The head is only {metrics['head_pixels']:.0f} pixels tall: its details are guesses."))
    for side in ("left", "right"):
        if not visible[f"{side}_hand"]:
            seen = "hardly" if f"{side}_hand" in partially_visible else "not"
            said.append(Notice("hands", f"The {side} hand was {seen} seen: its fingers are a guess."))
        elif metrics.get(f"{side}_hand_error_percent_head", 0.0) > _WARN_HAND:
            said.append(Notice("hands", f"The {side} hand could not be fitted well."))
        if not visible[f"{side}_arm"]:
            said.append(Notice("arms", f"The {side} arm was not fully seen: its pose is a guess."))
    if not visible["legs"]:
        said.append(Notice("legs", "The legs were not seen: they are straight."))
    elif not visible["feet"]:
        said.append(Notice("legs", "The feet were not seen: they are at rest."))
    if metrics["mask_iou"] < _WARN_OVERLAP:
        said.append(Notice("outline", "The body and the cut-out person differ much; check the matte."))
    return said
