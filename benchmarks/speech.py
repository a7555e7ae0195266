"""Measures the speech driver against what speakers did: sounds labeled by hand, and lips seen in videos.

    python benchmarks/speech.py --clips GRID --labels EMU -o benchmarks/results/speech.json

``--clips`` is a folder of videos of the GRID corpus (CC BY 4.0; eleven are in the repository rizkiarm/LipNet, in
``evaluation/samples``); their names say what is spoken. MediaPipe's face mesh sees the lips. ``--labels`` is a folder with
sentences of the EMU demo database (``*.wav`` and ``*_annot.json``, in the repository IPS-LMU/EMU-webApp, in
``src/testData/newFormat/ae``), whose sounds phoneticians labeled by hand. No network of the driver had a part in either
reference. ``TUNED`` names the recordings that the driver's constants were chosen with; they are left out of the means.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.interfaces import BodyModel
from avatarkit.io.audio import read_sound
from avatarkit.io.video import probe, read_frames
from avatarkit.types.body import Motion, SurfaceLandmarks
from avatarkit.types.speech import Sound, Viseme

TUNED = frozenset({"lbax4n", "swiz3n", "lwbsza", "brbk7n", "msajc003", "msajc010", "msajc012"})

# What is seen of a sound, apart from the tongue: the driver's visemes, and the labels of the EMU demo database.
SEEN = {
    "sil": "rest", "PP": "lips", "FF": "teeth", "TH": "tongue", "DD": "inside", "kk": "inside", "nn": "inside",
    "CH": "round hiss", "SS": "hiss", "RR": "r", "aa": "open", "E": "open", "ih": "spread", "oh": "round", "ou": "round",
}  # fmt: skip
LABELS = {
    "lips": "m Om p b", "teeth": "f v", "tongue": "D T", "inside": "t d dH n On l H h N NH k kt g", "hiss": "s z zs",
    "round hiss": "S Z dZ tS", "r": "r Or", "open": "V E A a:", "spread": "I i: j", "round": "o: O @u u: U w Ow",
}  # fmt: skip
MIXED = {
    "ai": ("open", "spread"), "ei": ("open", "spread"), "@u": ("open", "round"), "au": ("open", "round"),
    "oi": ("round", "spread"), "db": ("inside", "lips"), "pt": ("lips", "inside"),
}  # fmt: skip
"""Labels of two sounds, which are compared half by half."""

NEUTRAL = {"@": ("open", "spread", "r"), "@:": ("open", "r")}
"""Labels of vowels without a shape of their own; American English, which the driver knows, ends some of them with an r."""

_DIGITS = "one two three four five six seven eight nine"
_GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    {"z": "zero", **dict(zip("123456789", _DIGITS.split(), strict=True))},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
_PAIRS = ((13, 14), (82, 87), (312, 317))  # of MediaPipe's face mesh: inner borders of the upper and the lower lip
_EYES = (33, 263)  # outer corners
_STEP = 0.01  # seconds between comparisons with labels
_NEAR = 2  # such steps: two people who label the same recording put 94 % of the edges as near (Hosom, 2009)
_UNSURE = 0.0071  # seconds, of the Laplace distribution of which that is true


@dataclass(frozen=True)
class Clip:
    """How well the lips of a video are followed.

    Attributes:
        name: of the file.
        with_text: correlation of the lip opening in the motion with that of the speaker, when the text is known.
        without_text: the same, of the sound alone.
        speaking_with_text: the same with text, from 0.1 seconds before the first sound to 0.1 seconds after the last: before
            and after it people rest with open or closed lips as they like.
        speaking_without_text: the same, of the sound alone.
        lag: seconds that the lips of the motion are late, with text, at the best correlation.
    """

    name: str
    with_text: float
    without_text: float
    speaking_with_text: float
    speaking_without_text: float
    lag: float


@dataclass(frozen=True)
class Labeled:
    """How well the sounds of a labeled sentence are found.

    Attributes:
        name: of the file.
        with_text: share of moments with the right class, when the text is known.
        without_text: the same, of the sound alone.
        near_with_text: share of moments whose class is right at most 20 ms away, when the text is known.
        near_without_text: the same, of the sound alone.
        labelers: share of moments with one class if a second person labeled the same sounds, with edges as far away as people's.
        closures: of sounds made with both lips: seconds from the labeled closing to the found one, with text.
        closures_alone: the same without text; NaN where none is found within 0.12 seconds.
    """

    name: str
    with_text: float
    without_text: float
    near_with_text: float
    near_without_text: float
    labelers: float
    closures: tuple[float, ...]
    closures_alone: tuple[float, ...]


def components() -> Components:
    """Return the body model, the face detector and the speech drivers."""
    tables = {slot: {"use": "nothing"} for slot in SLOTS}
    recipe = Recipe.from_dict(tables | {"body": {"use": "anny"}, "keypoints": {"use": "mediapipe"}})
    return Components(recipe, device="cpu")


def grid_text(name: str) -> str:
    """Return what is spoken in a GRID clip, from its name."""
    return " ".join(table.get(letter, letter) for table, letter in zip(_GRID, name, strict=True))


def seen_lips(path: Path, found: Components) -> tuple[np.ndarray, float]:
    """Return (T,) how far the lips in a video are apart, as a share of the distance of the eyes, and its frame rate."""
    fps = probe(path).fps
    opening = []
    for points in found.get("keypoints").detect_video(image for _, image in read_frames(path)):
        face = None if points is None else points.points.get("face478")
        opening.append(np.nan if face is None else _opening(face))
    values = np.array(opening)
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known]), fps


def moved_lips(motion: Motion, body: BodyModel) -> np.ndarray:
    """Return (T,) how far the lips of a body model are apart, as a share of the distance of its eyes."""
    table = body.landmarks("face478")
    assert isinstance(table, SurfaceLandmarks)
    wanted = sorted({n for pair in (*_PAIRS, _EYES) for n in pair})
    corners = table.triangles[wanted].reshape(-1)
    vertices = body.rest(motion.params.shape, motion.params.expression, corners)
    points = (vertices.reshape(len(motion), -1, 3, 3) * table.barycentric[wanted][..., None]).sum(2).numpy()
    return np.array([_opening(dict(zip(wanted, frame, strict=True))) for frame in points])


def _opening(points: Mapping[int, np.ndarray] | np.ndarray) -> float:
    eyes = np.linalg.norm(points[_EYES[0]] - points[_EYES[1]])
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in _PAIRS]) / eyes)


def compare_lips(path: Path, found: Components, cache: Path | None = None) -> tuple[Clip, dict[str, np.ndarray]]:
    """Return how well the lips of a GRID clip are followed, and the three curves."""
    kept = None if cache is None else cache / f"{path.stem}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept) as file:
            seen, fps = file["seen"], float(file["fps"])
    else:
        seen, fps = seen_lips(path, found)
        if kept is not None:
            np.savez(kept, seen=seen, fps=fps)
    sound = Sound(read_sound(path), name=path.name)
    curves = {"seen": seen}
    said: list[Viseme] = []
    for kind, text in (("text", grid_text(path.stem)), ("alone", None)):
        visemes, motion = found.speech_driver().drive(sound, text, fps)
        said = said or list(visemes)
        curves[kind] = moved_lips(motion, found.get("body"))
    count = min(map(len, curves.values()))
    curves = {name: curve[:count] for name, curve in curves.items()}
    late = max(range(-4, 5), key=lambda n: _correlation(curves["seen"], np.roll(curves["text"], -n)))
    times = np.arange(count) / fps
    speaking = (times > said[0].start - 0.1) & (times < said[-1].end + 0.1)
    values = [
        _correlation(curves["seen"][part], curves[kind][part]) for part in (slice(None), speaking) for kind in ("text", "alone")
    ]
    return Clip(path.stem, *values, late / fps), curves


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def read_labels(path: Path) -> tuple[str, list[tuple[float, float, str]]]:
    """Return the text of an EMU annotation, and (start, end, label) of its sounds in seconds."""
    data = json.loads(path.read_text(encoding="utf-8"))
    levels = {level["name"]: level["items"] for level in data["levels"]}
    words = [next(x["value"] for x in item["labels"] if x["name"] == "Text") for item in levels["Word"]]
    rate = data["sampleRate"]
    sounds = [
        (item["sampleStart"] / rate, (item["sampleStart"] + item["sampleDur"] + 1) / rate, item["labels"][0]["value"])
        for item in levels["Phonetic"]
    ]
    return " ".join(words), _affricates(sounds)


def _affricates(sounds: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Join the halves of "ch" and "j": lips are round from the first one on."""
    out: list[tuple[float, float, str]] = []
    for start, end, label in sounds:
        if out and (out[-1][2], label) in (("t", "S"), ("d", "Z")) and start - out[-1][1] < _STEP:
            out[-1] = (out[-1][0], end, {"S": "tS", "Z": "dZ"}[label])
        else:
            out.append((start, end, label))
    return out


def classes_of_labels(sounds: Sequence[tuple[float, float, str]], count: int) -> list[tuple[str, ...]]:
    """Return what may be seen at each moment, by the labels."""
    known = {label: seen for seen, labels in LABELS.items() for label in labels.split()}
    out: list[tuple[str, ...]] = [("rest",)] * count
    for start, end, label in sounds:
        kinds = [(kind,) for kind in MIXED[label]] if label in MIXED else [NEUTRAL.get(label) or (known[label],)]
        edges = np.linspace(start, end, len(kinds) + 1) / _STEP
        for kind, a, b in zip(kinds, edges[:-1], edges[1:], strict=True):
            out[round(a) : round(b)] = [kind] * (round(b) - round(a))
    return out[:count]


def classes_of_visemes(visemes: Sequence[Viseme], count: int) -> np.ndarray:
    """Return (n,) what is seen at each moment, by the driver."""
    out = np.full(count, "rest", dtype="U12")
    for viseme in visemes:
        out[round(viseme.start / _STEP) : round(viseme.end / _STEP)] = SEEN[viseme.name]
    return out


def labelers_agree(sounds: Sequence[tuple[float, float, str]], count: int, draws: int = 30) -> float:
    """Return the share of moments with one class in labels and in those of a simulated second person."""
    truth, rng = classes_of_labels(sounds, count), np.random.default_rng(0)
    edges, shares = np.array([start for start, _, _ in sounds] + [sounds[-1][1]]), []
    for _ in range(draws):
        moved = np.maximum.accumulate(edges + rng.laplace(0, _UNSURE, len(edges))).tolist()
        second = [(start, end, label) for start, end, (_, _, label) in zip(moved[:-1], moved[1:], sounds, strict=True)]
        pairs = [(a, b) for a, b in zip(truth, classes_of_labels(second, count), strict=True) if a != ("rest",) or b != ("rest",)]
        shares.append(float(np.mean([bool(set(a) & set(b)) for a, b in pairs])))
    return float(np.mean(shares))


def compare_labels(path: Path, found: Components) -> Labeled:
    """Return how well the sounds of a labeled sentence are found."""
    text, sounds = read_labels(path)
    name = path.name.removesuffix("_annot.json")
    sound = Sound(read_sound(path.with_name(f"{name}.wav")), name=name)
    count = int(sound.seconds / _STEP)
    truth = classes_of_labels(sounds, count)
    closed = [(start, end) for start, end, label in sounds if label in LABELS["lips"].split() or label == "pt"]
    lips = [start for start, _ in closed if all(abs(start - end) > _STEP for _, end in closed)]  # not closed before
    shares, near, closures = [], [], []
    for given in (text, None):
        visemes = found.speech_driver().drive(sound, given)[0]
        own = classes_of_visemes(visemes, count)
        said = [k for k in range(count) if truth[k] != ("rest",) or own[k] != "rest"]
        shares.append(float(np.mean([own[k] in truth[k] for k in said])))
        near.append(float(np.mean([any(own[k] in right for right in truth[max(0, k - _NEAR) : k + _NEAR + 1]) for k in said])))
        starts = np.array([v.start for v in visemes if v.name == "PP"])
        nearest = [float(starts[np.abs(starts - at).argmin()] - at) if len(starts) else np.nan for at in lips]
        closures.append(tuple(d if abs(d) < 0.12 else float("nan") for d in nearest))
    return Labeled(name, shares[0], shares[1], near[0], near[1], labelers_agree(sounds, count), closures[0], closures[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of GRID videos")
    parser.add_argument("--labels", type=Path, help="folder of labeled sentences")
    parser.add_argument("--cache", type=Path, help="folder that keeps the lips seen in videos")
    parser.add_argument("--tuned", action="store_true", help="only the recordings that constants were chosen with")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    found, started = components(), time.monotonic()

    def chosen(name: str) -> bool:
        return (name in TUNED) == options.tuned

    videos, annotations = _files(options.clips, ".mpg"), _files(options.labels, "_annot.json")
    clips = [compare_lips(p, found, options.cache)[0] for p in videos if chosen(p.stem)]
    labeled = [compare_labels(p, found) for p in annotations if chosen(p.name.removesuffix("_annot.json"))]
    columns = ("with_text", "without_text", "speaking_with_text", "speaking_without_text", "lag")
    print(f"{'clip':10}{'':4}" + "".join(f"{name:>23}" for name in columns))
    for clip in clips:
        print(f"{clip.name:10}{'':4}" + "".join(f"{getattr(clip, name):23.2f}" for name in columns))
    if clips:
        print(f"{'mean':10}{'':4}" + "".join(f"{np.mean([getattr(clip, name) for clip in clips]):23.2f}" for name in columns))
    shares = ("with_text", "without_text", "near_with_text", "near_without_text", "labelers")
    print(f"{'sentence':10}" + "".join(f"{name:>18}" for name in shares))
    for sentence in labeled:
        print(f"{sentence.name:10}" + "".join(f"{getattr(sentence, name):18.1%}" for name in shares))
    if labeled:
        print(f"{'mean':10}" + "".join(f"{np.mean([getattr(s, name) for s in labeled]):18.1%}" for name in shares))
        for kind in ("closures", "closures_alone"):
            away = np.array([d for s in labeled for d in getattr(s, kind)])
            near = float((np.abs(away) <= 0.04).mean())
            print(f"{kind}: {len(away)}, within 40 ms {near:.0%}, median {np.nanmedian(np.abs(away)) * 1000:.0f} ms")
    if options.output:
        seconds = round(time.monotonic() - started, 1)
        facts = {"python": platform.python_version(), "pocketsphinx": version("pocketsphinx"), "seconds": seconds}
        data = {"clips": [asdict(c) for c in clips], "labeled": [asdict(s) for s in labeled], "machine": facts}
        options.output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _files(folder: Path | None, ending: str) -> list[Path]:
    return [] if folder is None else sorted(p for p in folder.iterdir() if p.name.endswith(ending))


if __name__ == "__main__":
    main()
