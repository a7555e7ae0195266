"""The tracker against people whose shape, pose, expression and camera are known: millimeters per part.

    python benchmarks/tracking_truth.py photos -n 20              exact landmarks with noise
    python benchmarks/tracking_truth.py photos -n 20 --detect     rendered photos through MediaPipe
    python benchmarks/tracking_truth.py photos -n 20 --alike      half bodies of people who differ in build alone
    python benchmarks/tracking_truth.py clips -n 3                three clips of built-in motions, three people in each

The people are made with Anny, the body model that is fitted, and the tables that place landmarks on it come from renders
of Anny, too. The numbers therefore say how well the fit solves what it is given; real people are harder. They look through
the camera that the tracker assumes where a photo says nothing of its lens.

Landmarks of the first kind are projected from the truth with Gaussian noise: 0.6 % of the head's height for faces, 2 cm for
bodies, 5 mm for hands, 4 cm for the rough depth. Points outside the picture have no score.

``own`` is the mean distance of a part's vertices inside the picture after the part itself was aligned (turn, shift, scale):
its shape and the pose inside it. ``head`` is that after the heads were laid on each other and made equally large: the whole
pose as seen from the head. Jitter is the mean size of joints' second differences. Joints of clips are those above the hips;
``shown`` are those inside the picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatarkit.components import Components
from avatarkit.config import Recipe
from avatarkit.errors import InputError
from avatarkit.geometry.mesh_graph import vertices_below
from avatarkit.interfaces import BodyModel
from avatarkit.testing.truth import Noise, framed, landmark_places, seen_keypoints, stranger, uniform
from avatarkit.types.body import BodyParams
from avatarkit.types.camera import Camera
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.mesh import Mesh
from avatarkit.types.photo import Photo
from avatarkit.types.subject import Matte, Subject
from avatarkit_exavatar.body.parameters import Parameters
from avatarkit_exavatar.photo.overlay import draw_mesh, part_colors

NOISE = Noise(face=0.006, body=0.02, hand=0.005, depth=0.04)  # of MediaPipe, see above
PHOTOS = ("bust", "half", "whole")  # what the pictures show, in turn
FPS, FRAMES = 25.0, 48
Random = torch.Generator


def posed(parameters: Parameters, shape: torch.Tensor, random: Random) -> BodyParams:
    """Return a person who gestures and speaks: the joints vary within the tracker's joint limits."""
    body, anatomy = parameters.body, parameters.anatomy
    x = parameters.encode(body.neutral())
    spread = torch.full((len(anatomy.mean), 1), 0.4)
    for name, row in anatomy.number.items():
        spread[row] = 0.15 if "hip" in name or "knee" in name else spread[row]
    angles = anatomy.mean + spread * anatomy.sigma * torch.randn(anatomy.mean.shape, generator=random)
    for side in ("left", "right"):
        angles[anatomy.number[f"{side}_elbow"], 0] = uniform(random, 0.2, 1.7)
        angles[anatomy.number[f"{side}_shoulder"], 0] = uniform(random, -0.1, 0.6)
    eye = angles[anatomy.number["left_eye_smplhf"]] if "left_eye_smplhf" in anatomy.number else None
    if eye is not None:
        angles[anatomy.number["right_eye_smplhf"]] = eye
    x[parameters.layout.pose] = angles.clamp(anatomy.low, anatomy.high).flatten()
    x[parameters.layout.root] = torch.tensor([uniform(random, -0.05, 0.05), uniform(random, -0.3, 0.3), 0.0])
    params = replace(parameters.decode(x), shape=shape)
    for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "mouthFunnel", "eyeBlinkLeft"):
        if uniform(random, 0, 1) < 0.5:
            params.expression[body.expression_names.index(name)] = uniform(random, 0.1, 0.6)
    return params


class World:
    """Sees people of one body model as a detector would."""

    def __init__(self, components: Components) -> None:
        self.body: BodyModel = components.get("body")
        self.meshes = components.get("renderer").meshes
        self.parameters: Parameters = components.get("tracker").parameters

    def points(self, params: BodyParams) -> dict[str, torch.Tensor]:
        """(n, 3) landmarks in the world, nan where the body has no such point."""
        return landmark_places(self.body, params)

    def keypoints(self, params: BodyParams, camera: Camera, random: Random, exact: dict[str, torch.Tensor]) -> Keypoints:
        """Return what a detector with noise would say of landmarks in the world; hands outside the picture are not seen."""
        return seen_keypoints(exact, params.translation, camera, NOISE, random)

    def picture(self, params: BodyParams, camera: Camera, random: Random) -> np.ndarray:
        """(H, W, 3) uint8 render with skin, hair and clothes in flat colors, before a plain wall."""
        body = self.body
        skin = torch.tensor([0.86, 0.68, 0.58]) * uniform(random, 0.6, 1.05)
        colors = part_colors(body) / part_colors(body).amax() * skin / torch.tensor([0.86, 0.72, 0.62])
        eyes = body.part("eyes") > 0.5
        colors[eyes] = part_colors(body)[eyes]
        clothes = body.part("skin") < 0.5
        colors[clothes & ~eyes] = 0.15 + 0.7 * torch.rand(3, generator=random)
        rest = body.rest(params.shape, params.expression[None])[0]
        head = body.part("head") > 0.5
        colors[head & (rest[:, 1] > rest[head, 1].max() - 0.05)] = 0.12
        large = camera.resized(2 * camera.width, 2 * camera.height)
        wall = np.full((large.height, large.width, 3), round(255 * uniform(random, 0.4, 0.9)), np.uint8)
        drawn = draw_mesh(wall, body.vertices(params)[0], body.faces, large, self.meshes, 1.0, colors.clamp(0, 1))
        return np.array(Image.fromarray(drawn).resize((camera.width, camera.height), Image.Resampling.BOX))

    def matte(self, params: BodyParams, camera: Camera) -> torch.Tensor:
        """(H, W) silhouette."""
        return self.meshes.render(Mesh(self.body.vertices(params)[0], self.body.faces), camera).mask.clamp(0, 1)

    def regions(self) -> dict[str, torch.Tensor]:
        """Part -> (V,) bool."""
        body = self.body
        hands = (body.part("left_hand") > 0.5) | (body.part("right_hand") > 0.5)
        arms = vertices_below(body, "left_shoulder", "right_shoulder") & ~hands
        legs = vertices_below(body, "left_hip", "right_hip")
        head = body.part("head") > 0.5
        face = body.part("face") > 0.5
        return {"face": face, "head": head, "torso": ~(hands | arms | legs | head), "arms": arms, "hands": hands, "legs": legs}


def aligned(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, 3) points ``a`` turned, shifted and scaled onto ``b``."""
    x, y = a - a.mean(0), b - b.mean(0)
    U, S, Vt = torch.linalg.svd(x.T @ y)
    flip = torch.tensor([1.0, 1.0, float(torch.linalg.det(U @ Vt).sign())])
    scale = (S * flip).sum() / x.square().sum()
    return scale * x @ (U * flip @ Vt) + b.mean(0)


def vertex_errors(world: World, fitted: BodyParams, truth: BodyParams, camera: Camera) -> dict[str, float]:
    """Millimeters per part, ``own`` and ``head`` (see above), of vertices in the picture; also the head's depth."""
    a, b = world.body.vertices(fitted)[0], world.body.vertices(truth)[0]
    at = camera.project(b)
    inside = ((at >= 0) & (at < torch.tensor([camera.width, camera.height]))).all(1)
    regions = world.regions()
    head = regions["face"] & inside
    size = (b[head] - b[head].mean(0)).norm(dim=1).mean() / (a[head] - a[head].mean(0)).norm(dim=1).mean()
    seen_from_head = (a - a[head].mean(0)) * size - (b - b[head].mean(0))
    out = {"head depth": float((a[head].mean(0) - b[head].mean(0))[2]) * 1000}
    for name, region in regions.items():
        rows = region & inside
        if int(rows.sum()) >= 50:
            out[f"{name} own"] = float((aligned(a[rows], b[rows]) - b[rows]).norm(dim=1).mean()) * 1000
            out[f"{name} head"] = float(seen_from_head[rows].norm(dim=1).mean()) * 1000
    return out


def joint_places(body: BodyModel, params: BodyParams) -> torch.Tensor:
    """(T, J, 3) joints in the world."""
    skeleton = body.skeleton(params.shape)
    A = body.joint_transforms(skeleton, params.root, params.translation, params.joints)
    return (A[..., :3, :3] @ skeleton.positions[..., None])[..., 0] + A[..., :3, 3]


def photos(components: Components, count: int, detect: bool, alike: bool, output: Path) -> list[dict[str, Any]]:
    """Rows of the table, one per person; a refused picture has the reason."""
    world, rows = World(components), []
    for number in range(count):
        random = torch.Generator().manual_seed(1000 + number)
        crop = "half" if alike else PHOTOS[number % len(PHOTOS)]
        truth, camera = framed(posed(world.parameters, stranger(world.body, random, alike), random), crop)
        image = world.picture(truth, camera, random)
        alpha = world.matte(truth, camera)
        photo = Photo(torch.from_numpy(image).float() / 255, None, "0" * 64, f"{number}.png")
        row: dict[str, Any] = {"person": number, "crop": crop}
        try:
            if detect:
                keypoints = components.get("keypoints").detect(image)
            else:
                keypoints = world.keypoints(truth, camera, random, world.points(truth))
            subject: Subject = components.get("tracker").fit(photo, Matte(alpha, photo.image), keypoints)
        except InputError as error:
            rows.append(row | {"refused": str(error)})
            continue
        row["hands seen"] = sum(subject.quality.visible[f"{side}_hand"] for side in ("left", "right"))
        row |= vertex_errors(world, subject.params, truth, camera)
        row["iou"] = subject.quality.metrics["mask_iou"]
        rows.append(row)
        print(json.dumps(row), flush=True)
        clay = draw_mesh(image, world.body.vertices(subject.params)[0], world.body.faces, camera, world.meshes)
        Image.fromarray(np.concatenate([image, clay], 1)).save(output / f"truth-{'detect' if detect else 'exact'}-{number}.png")
    return rows


def face_ratio(body: BodyModel, tracked: BodyParams, truth: BodyParams) -> float:
    """Return how much larger the true face is: a picture does not tell size from distance."""
    face = body.part("face") > 0.5
    x, y = (body.rest(p.shape, p.expression[:1])[0][face] for p in (tracked, truth))
    return float((y - y.mean(0)).norm(dim=1).mean() / (x - x.mean(0)).norm(dim=1).mean())


def clip_errors(body: BodyModel, tracked: BodyParams, truth: BodyParams, camera: Camera) -> dict[str, float]:
    """Millimeters of the joints above the hips as seen from the head, jitter, and the jaw's error."""
    a, b = joint_places(body, tracked), joint_places(body, truth)
    names = [n.lower() for n in body.joint_names]
    head = names.index("head")
    wrists = [k for k, n in enumerate(names) if n.startswith("wrist") or n.endswith("wrist")]
    from_head, truly = a - a[:, head : head + 1], b - b[:, head : head + 1]
    upper = [k for k in range(len(names)) if k != head and b[:, k, 1].mean() > b[:, 0, 1].mean()]
    at = camera.project(b.reshape(-1, 3)).reshape(*b.shape[:2], 2)
    shown = ((at >= 0) & (at < torch.tensor([camera.width, camera.height]))).all(-1)[:, upper]
    away = (from_head - truly).norm(dim=-1) * 1000
    sized = (from_head * face_ratio(body, tracked, truth) - truly).norm(dim=-1) * 1000
    row = {
        "joints": float(away[:, upper].mean()),
        "joints shown": float(away[:, upper][shown].mean()),
        "joints shown, head's size": float(sized[:, upper][shown].mean()),
        "wrists": float(away[:, wrists].mean()),
    }
    for name, places in (("truth", b), ("tracked", a)):
        jerk = places.diff(n=2, dim=0).norm(dim=-1)
        row[f"jitter wrists {name}"] = float(jerk[:, wrists].mean()) * 1000
        row[f"jitter head {name}"] = float(jerk[:, head].mean()) * 1000
    e = (tracked.expression - truth.expression)[:, body.expression_names.index("jawOpen")]
    row["jawOpen rms"] = float(e.square().mean().sqrt())
    return row


def clips(components: Components, count: int, output: Path) -> list[dict[str, Any]]:
    """Rows of the table of clips, two frames of which are lost: of strangers, and of people whose photo is the first frame."""
    world, rows = World(components), []
    body, tracker = world.body, components.get("tracker")
    cases = [(m, n, p) for n, m in enumerate(components.get("motions").motions(3, 7)) for p in range(count)]
    for motion, number, person in cases:
        random = torch.Generator().manual_seed(2000 + number + 100 * person)
        at = (torch.arange(FRAMES) * motion.fps / FPS).round().long().clamp(max=len(motion) - 1)
        moving = replace(motion.params[at], shape=stranger(body, random))
        truth, camera = framed(moving, "half")
        seen: list[Keypoints | None] = []
        for frame in range(FRAMES):
            lost = frame in (FRAMES // 2, FRAMES // 2 + 1)
            now = truth[frame]
            seen.append(None if lost else world.keypoints(now, camera, random, world.points(now)))
        first = seen[0]
        assert first is not None
        image = torch.full((camera.height, camera.width, 3), 0.5)
        subject = tracker.fit(Photo(image, None, "0" * 64, "first"), Matte(world.matte(truth[0], camera), image), first)
        for known in (None, subject):
            tracked = tracker.track(seen, known, FPS, cameras=[camera] * FRAMES).params
            errors = clip_errors(body, tracked, truth, camera)
            rows.append({"clip": motion.name, "person": person, "photo": known is not None} | errors)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def show_clips(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table of means over the people of each clip."""
    columns = [k for k, v in rows[0].items() if isinstance(v, float)]
    lines = ["| clip | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for clip, photo in dict.fromkeys((r["clip"], r["photo"]) for r in rows):
        mine = [r for r in rows if (r["clip"], r["photo"]) == (clip, photo)]
        cells = [f"{statistics.mean(r[k] for r in mine):.3g}" for k in columns]
        lines.append(f"| {clip}{', photo' if photo else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def show(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table of medians and worst values over all rows."""
    known = [r for r in rows if "refused" not in r]
    lines = ["| | median | worst |", "|---|---|---|"]
    for name in dict.fromkeys(k for r in known for k, v in r.items() if isinstance(v, float)):
        values = [abs(r[name]) for r in known if name in r]
        worst: Callable[..., float] = min if name == "iou" else max
        lines.append(f"| {name} | {statistics.median(values):.3g} | {worst(values):.3g} |")
    return "\n".join([*lines, *(f"{r}" for r in rows if "refused" in r)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["photos", "clips"])
    parser.add_argument("-n", type=int, default=20, help="people, of clips in each")
    parser.add_argument("--detect", action="store_true", help="let the detector look at renders")
    parser.add_argument("--alike", action="store_true", help="people who differ in build alone, half body")
    parser.add_argument("-o", "--output", type=Path, default=Path("tracking-report"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    components = Components(Recipe.load("standard"))
    with torch.no_grad():
        if options.what == "photos":
            rows = photos(components, options.n, options.detect, options.alike, options.output)
        else:
            rows = clips(components, options.n, options.output)
    name = f"truth-{options.what}{'-detect' if options.detect else ''}{'-alike' if options.alike else ''}.json"
    (options.output / name).write_text(json.dumps(rows, indent=2) + "\n")
    print(show(rows) if options.what == "photos" else show_clips(rows))


if __name__ == "__main__":
    main()
