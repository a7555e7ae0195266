import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.interfaces import BodyModel
from avatarkit.io.audio import read_sound
from avatarkit_speech.audio_features import RATE, Voice, listen
from avatarkit_speech.loudness import normalize_loudness

SENTENCE = Path(__file__).parent / "data" / "young_man.flac"
"""A sentence of LibriVox's Sense and Sensibility, read by a volunteer; in the public domain."""


@pytest.fixture(scope="session")
def default() -> Components:
    """The body model of the default stack, and the speech drivers."""
    torch.set_num_threads(1)
    tables = {slot: {"use": "nothing"} for slot in SLOTS}  # slots that the test does not use
    return Components(Recipe.from_dict(tables | {"body": {"use": "anny"}}), device="cpu")


@pytest.fixture(scope="session")
def body(default: Components) -> BodyModel:
    return default.get("body")


@pytest.fixture(scope="session")
def recording() -> np.ndarray:
    """0.23 to 2.75 s: "he was not an ill disposed young man"."""
    return normalize_loudness(read_sound(SENTENCE, RATE), RATE)


@pytest.fixture(scope="session")
def voice(recording: np.ndarray) -> Voice:
    return listen(recording)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs eSpeak NG where that program is not installed."""
    if shutil.which("espeak-ng") is None:
        for item in items:
            if "synthesizer-espeak-ng" in item.name:
                item.add_marker(pytest.mark.skip(reason="needs the program espeak-ng"))
