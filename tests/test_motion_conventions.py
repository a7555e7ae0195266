"""One motion through every convention of motion files gives the same world rotations and the same path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avatarkit.errors import InputError
from avatarkit.motion.files import inspect_motion, read_motion
from avatarkit.motion.pose_solver import PARENTS
from avatarkit.motion.skeleton import recognize_rig
from avatarkit.testing.motion_conventions import (
    AXES,
    ORDERS,
    PREFIXED,
    RIGS,
    Clip,
    Convention,
    Figure,
    apart,
    bvh,
    encode,
    glb,
    make_clip,
    rig_names,
    smpl_arrays,
)
from avatarkit.types.body import SMPLX_JOINTS, Motion

FIGURE = Figure()
DEGREES, CENTIMETERS = 0.1, 1.0
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_examples = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read(folder: Path, content: bytes, suffix: str = ".bvh", **options: object) -> Motion:
    path = folder / f"clip{suffix}"
    path.write_bytes(content)
    return read_motion(path, FIGURE, **options)  # type: ignore[arg-type]


def _same(a: Motion, b: Motion) -> None:
    degrees, path = apart(a, b, FIGURE)
    assert degrees < DEGREES
    assert path < CENTIMETERS
    assert a.fps == pytest.approx(b.fps, rel=1e-4)


@_examples
@given(
    seed=st.integers(0, 2**20),
    posture=st.sampled_from(["stand", "crouch", "prone", "supine"]),
    axes=st.sampled_from(AXES),
    unit=st.sampled_from([1.0, 10.0, 0.01, 1 / 2.54]),
    order=st.sampled_from(ORDERS),
    rest=st.sampled_from("TAIV"),
    channels=st.sampled_from(["root", "all", "dummy", "under"]),
    text=st.sampled_from(["utf-8", "bom", "utf-16", "lower", "comments", "tabs", "crlf", "comma"]),
    fps=st.sampled_from([24.0, 29.97, 60.0, 120.0]),
)
def test_bvh(tmp_path: Path, seed: int, posture: str, fps: float, **how: object) -> None:
    clip = make_clip(seed, posture=posture)
    clip = Clip(clip.turns, clip.path, fps)
    plain = _read(tmp_path, bvh(clip, Convention()))
    _same(_read(tmp_path, bvh(clip, Convention(**how))), plain)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rig", "prefix"), [(rig, p) for rig in RIGS for p in PREFIXED.get(rig, ("",))])
def test_names(rig: str, prefix: str, tmp_path: Path) -> None:
    clip = make_clip(3)
    if rig_names(rig).get("left_index1") is None:
        clip = Clip({n: R for n, R in clip.turns.items() if n in rig_names(rig)}, clip.path)
    names = rig_names(rig)
    recognized = recognize_rig([prefix + n for n in names.values()], _parents(names))
    assert {n: list(names)[j] for n, j in recognized.joints.items()} == {n: n for n in names}
    other = _read(tmp_path, bvh(clip, Convention(rig=rig, prefix=prefix, text="utf-8")))
    if "left_index1" in names:
        _same(other, _read(tmp_path, bvh(clip, Convention())))


def _parents(names: dict[str, str]) -> list[int]:
    order = list(names)
    return [order.index(p) if (p := PARENTS[n]) else -1 for n in order]


def test_suffixes_and_numbers_that_all_names_share(tmp_path: Path) -> None:
    clip = make_clip(5)
    plain = _read(tmp_path, bvh(clip, Convention()))
    _same(_read(tmp_path, bvh(clip, Convention(suffix="_JNT"))), plain)
    numbered = bvh(clip, Convention(prefix="mixamorig:")).decode()
    for k, name in enumerate(sorted(rig_names("Mixamo").values(), key=len, reverse=True)):
        numbered = numbered.replace(f" mixamorig:{name}\n", f" mixamorig:{name}_{k:02d}\n")
    _same(_read(tmp_path, numbered.encode()), plain)


_WHOLE = {"smplx": SMPLX_JOINTS, "smplh": tuple(n for n in SMPLX_JOINTS if n != "jaw" and "eye" not in n)}


def _npz(folder: Path, clip: Clip, axes: np.ndarray, model: str, encoding: str, layout: str, rate: object) -> Motion:
    local = smpl_arrays(clip, axes, model)
    trans = local.pop("trans")
    prefix = {"split": "", "own": "", "smplerx": "smplx_"}.get(layout, "")

    def stack(names: tuple[str, ...]) -> np.ndarray:
        return encode(np.stack([local[n] for n in names], 1), encoding)

    arrays: dict[str, object] = {"mocap_frame_rate": rate, "betas": np.zeros(10)}
    if layout == "whole":
        arrays |= {"poses": stack(tuple(local)), "trans": trans}
    else:
        body, hands = SMPLX_JOINTS[1:22], (SMPLX_JOINTS[25:40], SMPLX_JOINTS[40:])
        names = {"split": ("global_orient", "body_pose", "transl"), "amass": ("root_orient", "pose_body", "trans"),
                 "smplerx": ("root_pose", "body_pose", "transl")}[layout]  # fmt: skip
        values = dict(zip(names, (stack(("pelvis",)), stack(body), trans), strict=True))
        if model != "smpl":
            if layout == "amass":
                values["pose_hand"] = stack((*hands[0], *hands[1]))
            else:
                for side, hand in zip(("l", "r") if layout == "smplerx" else ("left_", "right_"), hands, strict=True):
                    values[f"{side}hand_pose"] = stack(hand)
        arrays |= {prefix + n: v for n, v in values.items()}
    path = folder / "clip.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return read_motion(path, FIGURE)  # type: ignore[arg-type]


_KINDS = ("axis", "matrix", "rows", "columns", "interleaved")
_ENCODINGS = [f"{kind}-{shape}" for kind in _KINDS for shape in ("flat", "full", "batch")]


@_examples
@given(
    seed=st.integers(0, 2**20),
    posture=st.sampled_from(["stand", "crouch"]),
    axes=st.sampled_from(AXES),
    model=st.sampled_from(["smplx", "smplh", "smpl"]),
    encoding=st.sampled_from(_ENCODINGS),
    layout=st.sampled_from(["whole", "split", "amass", "smplerx"]),
    rate=st.sampled_from([30, 30.0, "30", "30 fps", b"30", [30.0], "60/2"]),
)
def test_smpl(tmp_path: Path, seed: int, posture: str, model: str, **how: object) -> None:
    clip = make_clip(seed, posture=posture)
    plain = _npz(tmp_path, clip, np.eye(3), model, "axis-flat", "whole", 30.0)
    _same(_npz(tmp_path, clip, model=model, **how), plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("axes", [np.eye(3), Z_UP], ids=["y", "z"])
@pytest.mark.parametrize("posture", ["prone", "supine"])
def test_people_who_lie_stay_on_the_floor(
    axes: np.ndarray, posture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_clip(1, posture=posture)
    clip = Clip(clip.turns, clip.path - clip.path[0] * (1, 0, 1))
    expected = _read(tmp_path, bvh(clip, Convention()))
    motion = _npz(tmp_path, clip, axes, "smplx", "axis-flat", "whole", 30.0)
    assert "is taken to be up (the person lies or crawls on the floor)" in caplog.text
    path = (motion.params.translation - expected.params.translation).norm(dim=-1).max()
    assert path < 0.1  # the legs of SMPL's skeleton are longer
    turned = motion.params.root - expected.params.root
    assert turned.abs().max() < 0.02


_WORLDS = {"y": np.eye(3), "z": Z_UP, "-y": np.diag([1.0, -1.0, -1.0]), "x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])}


@_examples
@given(
    seed=st.integers(0, 2**20),
    posture=st.sampled_from(["stand", "crouch"]),
    up=st.sampled_from(list(_WORLDS)),
    place=st.tuples(*[st.floats(-150, 150)] * 3),
)
def test_people_who_stand_are_never_laid_down_wherever_they_are(
    tmp_path: Path, seed: int, posture: str, up: str, place: tuple[float, float, float]
) -> None:
    clip = make_clip(seed, posture=posture)
    clip = Clip(clip.turns, clip.path - clip.path[0] + np.array(place))
    _npz(tmp_path, clip, _WORLDS[up], "smplx", "axis-flat", "whole", 30.0)
    _, info = inspect_motion(tmp_path / "clip.npz", FIGURE)  # type: ignore[arg-type]
    assert info.up.axis == up


@pytest.mark.parametrize(("field", "up"), [("surface_model_type", "z"), ("dmpls", "z"), ("smpl_scaling", "y")])
def test_the_fields_of_a_data_set_tell_which_axis_is_up(field: str, up: str, tmp_path: Path) -> None:
    for posture in ("prone", "supine", "stand"):
        local = smpl_arrays(make_clip(1, posture=posture), _WORLDS[up])
        trans = local.pop("trans")
        poses = encode(np.stack(list(local.values()), 1), "axis-flat")
        np.savez(tmp_path / "a.npz", poses=poses, trans=trans, **{field: np.ones(1)})
        _, info = inspect_motion(tmp_path / "a.npz", FIGURE)  # type: ignore[arg-type]
        assert info.up.axis == up


def test_an_unreadable_rate_is_one_sentence(tmp_path: Path) -> None:
    for rate in ("fast", "30 and 60", "", 0, -1, np.nan, [], "1e99"):
        with pytest.raises(InputError, match="impossible frame rate"):
            _npz(tmp_path, make_clip(0), np.eye(3), "smpl", "axis-flat", "whole", rate)


# ------------------------------------------------------------------------------------------------------------------ glTF


@_examples
@given(
    seed=st.integers(0, 2**20),
    posture=st.sampled_from(["stand", "crouch", "prone"]),
    rig=st.sampled_from(["Mixamo", "Rigify", "VRoid", "Unreal"]),
    rest=st.sampled_from("TAIV"),
    skin=st.booleans(),
    armature=st.sampled_from([None, (Z_UP.T, 0.01), (Z_UP, 1.0), (np.eye(3), 0.01)]),
    humanoid=st.sampled_from(["", "VRMC_vrm_animation", "VRMC_vrm"]),
    keys=st.sampled_from(["LINEAR", "STEP", "CUBICSPLINE"]),
    rolled=st.booleans(),
)
def test_gltf(tmp_path: Path, seed: int, posture: str, **how: object) -> None:
    clip = make_clip(seed, posture=posture)
    motion = _read(tmp_path, glb(clip, **how), ".glb")  # type: ignore[arg-type]
    _same(motion, _read(tmp_path, bvh(clip, Convention())))


def test_expressions_of_vrma(tmp_path: Path) -> None:
    curve = np.linspace(0, 1, 6)
    content = glb(make_clip(1), humanoid="VRMC_vrm_animation", expressions={"blinkLeft": curve, "jawOpen": curve / 2})
    motion = _read(tmp_path, content, ".vrma")
    expression = dict(zip(FIGURE.expression_names, motion.params.expression.T, strict=True))
    np.testing.assert_allclose(expression["eyeBlinkLeft"], curve, atol=1e-6)
    np.testing.assert_allclose(expression["jawOpen"], curve / 2, atol=1e-6)
    assert not expression["eyeBlinkRight"].any()
