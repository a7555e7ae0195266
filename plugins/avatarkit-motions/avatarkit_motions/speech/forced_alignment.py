"""Finds when the sounds of a text are spoken in a recording."""

from __future__ import annotations

import numpy as np

from avatarkit_motions.performances.face import CONSONANTS, VOWELS, shapes_of
from avatarkit_motions.speech.audio_features import STEP, Voice

__all__ = ["VOWEL_PLACES", "align"]

# Vowels by how high their two resonances lie, on the scales of ``Voice.high`` and ``Voice.front``.
VOWEL_PLACES = {
    "aa": (0.9, -0.2), "ae": (0.85, 0.5), "ah": (0.6, 0.0), "eh": (0.55, 0.6), "ih": (0.3, 0.6), "ee": (0.05, 0.9),
    "oh": (0.5, -0.6), "uu": (0.05, -0.5), "rr": (0.4, -0.1), "w": (0.2, -0.7),
}  # fmt: skip
_HISSING = ("S", "Z", "SH", "ZH", "CH", "JH", "T", "K")
_SOFT = ("F", "V", "TH", "DH", "HH")
_STOPS = ("B", "P", "D", "G", "M", "N", "NG", "T", "K")
_SHORTEST = {True: 4, False: 3}  # looks of a vowel, of a consonant
_USUAL = {True: 16, False: 8}  # beyond these a sound costs more and more to hold
_HOLD = 0.06


def align(voice: Voice, words: list[list[str]]) -> list[tuple[float, float, str]]:
    """Align the sounds to the recording (Viterbi), in order, with silence between words.

    Args:
        voice: analyzed recording.
        words: ARPAbet, see ``words.phonemes``.

    Returns:
        (start, end, sound) seconds; silences are left out.
    """
    sounds = [""]
    for word in words:
        sounds += [*word, ""] if word else []
    costs = np.stack([_cost(sound, voice) for sound in sounds])
    states: list[int] = []  # sound that each state belongs to
    firsts: list[int] = []  # first state of each sound
    for k, sound in enumerate(sounds):
        firsts.append(len(states))
        states += [k] * (1 if not sound else _USUAL[sound in VOWELS])
    index = np.array(states)
    path = _viterbi(costs[index], *_moves(sounds, index, firsts))
    out: list[tuple[float, float, str]] = []
    for k in np.unique(index[path]):
        if sounds[k]:
            at = np.flatnonzero(index[path] == k)
            out.append((float(at[0] * STEP), float((at[-1] + 1) * STEP), sounds[k]))
    return out


def _moves(sounds: list[str], index: np.ndarray, firsts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the states (n, m) that may precede each state, -1 = none, and their costs (n,)."""
    ends: list[list[int]] = []  # states from which each sound may be left
    for k, sound in enumerate(sounds):
        last = (firsts[k + 1] if k + 1 < len(sounds) else len(index)) - 1
        first = firsts[k] if not sound else firsts[k] + _SHORTEST[sound in VOWELS] - 1
        ends.append(list(range(first, last + 1)))
    before: list[list[int]] = []
    stay = np.full(len(index), np.inf)
    for state, k in enumerate(index):
        last = state == len(index) - 1 or index[state + 1] != k
        if last:
            stay[state] = 0.0 if not sounds[k] else _HOLD
        if state > firsts[k]:
            before.append([state - 1])
        elif k == 0:
            before.append([])
        elif k >= 2 and not sounds[k - 1]:  # silence between words may be left out
            before.append([*ends[k - 1], *ends[k - 2]])
        else:
            before.append(ends[k - 1])
    width = max(len(b) for b in before)
    return np.array([b + [-1] * (width - len(b)) for b in before]), stay


def _viterbi(costs: np.ndarray, before: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """Return (T,) state at each moment of the cheapest path from the first to the last state; costs (n, T)."""
    count, T = costs.shape
    best = np.full(count + 1, np.inf)  # the last belongs to no sound
    best[0] = costs[0, 0]
    if before.shape[0] > 1:
        best[1] = costs[1, 0]  # no silence at the start
    came = np.zeros((T, count), np.int32)
    for t in range(1, T):
        options = np.concatenate([(best[:-1] + stay)[:, None], best[before]], 1)
        chosen = options.argmin(1)
        came[t] = np.where(chosen == 0, np.arange(count), before[np.arange(count), np.maximum(chosen - 1, 0)])
        best[:-1] = options[np.arange(count), chosen] + costs[:, t]
    path = np.empty(T, np.int64)
    path[-1] = count - 1 if best[count - 1] <= best[count - 2] else count - 2
    for t in range(T - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


def _cost(sound: str, v: Voice) -> np.ndarray:
    """Return (T,) how little each moment of a recording is like a sound."""
    quiet = 1 - v.speaking
    if not sound:
        return 1.5 * v.speaking + v.open
    if sound in VOWELS:
        high, front = np.mean([VOWEL_PLACES[s] for s in shapes_of(sound)], 0)
        away = np.hypot(v.high - high, (v.front - front) / 1.6)
        return 1.5 * quiet + 1.0 * (1 - v.open) + v.hiss + 0.8 * np.minimum(away, 1)
    cost = 1.2 * quiet + 0.5
    if sound in _HISSING:
        cost = cost + (0.9 if CONSONANTS[sound][0] in ("ss", "ch") else 0.2) * (0.5 - v.hiss) + 0.5 * v.open
    elif sound in _SOFT:
        cost = cost + 0.4 * v.open
    elif sound in ("R", "W", "L", "Y"):
        cost = cost + 0.3 * v.hiss
    if sound in _STOPS:
        cost = cost + 0.5 * (v.open - v.closed) - 0.6 * quiet
    return cost
