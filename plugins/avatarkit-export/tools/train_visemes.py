"""Trains the page's network of visemes (web/src/network.json) on recordings with their text.

    python tools/train_visemes.py FOLDER HELD_OUT... -o web/src/network.json

FOLDER holds sound files and transcripts.tsv (file, tab, text). Files whose names start with one of HELD_OUT measure, the others
train. Labels are the default speech driver's, aligned with the text. eSpeak NG's voices, where it is installed, add sounds that
are rare in few recordings. Features come from the page's own code (needs node). Sounds are played faster, slower, tilted and with
noise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.signal import lfilter, resample_poly

from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.errors import MissingDependency
from avatarkit.io.audio import read_sound, resample
from avatarkit.types.speech import VISEMES, Sound, Viseme

RATE, SIZE = 48_000, 1024
SAID = (
    "The quick brown fox jumps over the lazy dog while five boxing wizards watch.",
    "Please bring my mother a big blue map of the paper mill by Monday morning.",
    "She sells sea shells by the shore, and he washes his shirts with soft soap.",
    "We were away a year ago, and now I wonder why you never wrote.",
    "Vivian found five very fine violins for Frank's favorite film.",
    "Good cooks could look at the books and put the pudding in the wood.",
    "Father's car is parked far from the large dark barn in the yard.",
    "You should choose the juice, Joe, and your true blue shoes.",
    "Thin thieves thought they thrilled the throne throughout Thursday.",
    "Bob bought a bottle of pop and a map for Pam and Tom.",
    "Go home, Rose, and open the old oak boat before the rope is broken.",
    "It is easy to see these three green trees near the deep stream.",
)
VOICES = ("en-us+f1", "en-us+f2", "en-us+f4", "en-us+f5", "en-us+m2", "en-us+m6", "en-us+klatt", "en-us+klatt4")
CLASSES = {
    "PP": 0, "FF": 1, "aa": 2, "E": 3, "ih": 3, "oh": 4, "ou": 4, "RR": 4, "SS": 5, "CH": 5, "TH": 6, "DD": 6, "nn": 6, "kk": 6,
    "sil": 7,
}  # fmt: skip
CLASS = np.array([CLASSES[name] for name in VISEMES])


def features(samples: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "in.raw"), Path(folder, "out.raw")
        samples.astype("<f4").tofile(raw)
        subprocess.run(["node", str(Path(__file__).with_name("hear.js")), str(raw), str(RATE), str(out)], check=True)
        return np.fromfile(out, "<f4").reshape(1 + (len(samples) - SIZE) // (SIZE // 2), -1)


def labels(visemes: Sequence[Viseme], count: int, speed: float) -> np.ndarray:
    t = (np.arange(count) + 1) * (SIZE / 2 / RATE) * speed
    out = np.zeros(count, np.int64)
    for viseme in visemes:
        out[(t >= viseme.start) & (t < viseme.end)] = VISEMES.index(viseme.name)
    return out


def recordings(folder: Path, components: Components) -> Iterator[tuple[str, np.ndarray, str, float]]:
    """Yield (name, samples, text, weight)."""
    for line in (folder / "transcripts.tsv").read_text(encoding="utf-8").strip().splitlines():
        name, text = line.split("\t")
        yield name, read_sound(folder / name, RATE), text, 5.0
    try:
        voice = components.outside_builds("synthesizer")
    except MissingDependency:
        return
    for name in VOICES:
        for k, text in enumerate(SAID):
            sound = voice.synthesize(text, name)
            yield f"{name} {k}", resample(sound.samples, sound.rate, RATE), text, 0.35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("held_out", nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tables = {slot: {"use": "nothing"} for slot in SLOTS}
    components = Components(Recipe.from_dict(tables | {"body": {"use": "anny"}}), device="cpu")
    driver = components.speech_driver()
    seen, held = [], {}
    for name, samples, text, weight in recordings(given.folder, components):
        visemes = list(driver.drive(Sound(resample(samples, RATE, 16_000)), text)[0])
        if name.startswith(tuple(given.held_out)) and given.held_out:
            heard = features(samples)
            held[name] = heard, labels(visemes, len(heard), 1.0)
            continue
        for speed in (0.85, 0.93, 1.0, 1.08, 1.17):
            y = lfilter([1, rng.uniform(-0.5, 0.5)], [1], resample_poly(samples, 100, round(100 * speed)))
            y = y / np.abs(y).max() * rng.uniform(0.08, 0.9) + rng.normal(size=len(y)) * 10 ** (-rng.uniform(45, 75) / 20)
            heard = features(y)
            seen.append((heard, labels(visemes, len(heard), speed), np.full(len(heard), weight, np.float32)))
    x, truth, weights = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*seen, strict=True))
    count = torch.bincount(truth, weights=weights, minlength=len(VISEMES)).clamp(min=1)
    chance = weights * ((count.sum() / count) ** 0.4)[truth]
    mean, spread = x.mean(0), x.std(0)
    first, last = torch.nn.Linear(x.shape[1], 40), torch.nn.Linear(40, len(VISEMES))
    network = torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Dropout(0.15), last)
    steps, batch = 4000, 256
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows in torch.multinomial(chance, steps * batch, replacement=True).split(batch):
        given_now = (x[rows] - mean) / spread + 0.25 * torch.randn(len(rows), x.shape[1])
        loss = torch.nn.functional.cross_entropy(network(given_now), truth[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    for name, (heard, known) in held.items():
        found = network((torch.from_numpy(heard) - mean) / spread).argmax(1).numpy()
        said = known > 0
        print(f"{name}: {(CLASS[found] == CLASS[known])[said].mean():.2f} of the moments of speech in the right class of 8")
    scaled = first.weight / spread
    flat = [t.detach().flatten().numpy() for t in (scaled, last.weight, first.bias - (scaled * mean).sum(1), last.bias)]
    rounded = [[round(float(v), 3) for v in values] for values in flat]
    given.output.write_text(json.dumps({"weights": rounded[:2], "biases": rounded[2:]}, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main()
