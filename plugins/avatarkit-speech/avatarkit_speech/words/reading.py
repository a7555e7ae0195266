"""Reads English text aloud, on paper: numbers, signs and abbreviations become words."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["is_readable", "words_of"]

_NAMES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen
"""
_ONES = _NAMES.split()
_TENS = ["", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_SHORT = {
    "mr.": "mister", "mrs.": "missus", "ms.": "miz", "dr.": "doctor", "prof.": "professor", "st.": "saint", "vs.": "versus",
    "etc.": "et cetera", "e.g.": "for example", "i.e.": "that is", "no.": "number", "approx.": "approximately", "jr.": "junior",
    "sr.": "senior", "km": "kilometers", "kg": "kilograms", "cm": "centimeters", "mm": "millimeters",
}  # fmt: skip
_SIGNS = {
    "%": " percent ", "&": " and ", "+": " plus ", "=": " equals ", "@": " at ", "#": " number ", "°": " degrees ",
    "×": " times ", "½": " half ",
}  # fmt: skip
_MONEY = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen"}
_LONGEST = 9  # digits of a number that is read as a whole
_TOKEN = re.compile(r"[$€£¥]?\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th|s)?\b|\d+|[A-Za-z][A-Za-z'.]*")
_NUMBER = re.compile(r"([$€£¥]?)(\d[\d,]*)(?:\.(\d+))?(st|nd|rd|th|s)?", re.IGNORECASE)


def is_readable(text: str) -> bool:
    """Return whether most letters of a text are Latin ones, so that it may be English."""
    letters = [c for c in unicodedata.normalize("NFKD", text) if c.isalpha()]
    return not letters or sum(c.isascii() for c in letters) * 2 > len(letters)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, as they are said; other signs are left out."""
    text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'"))
    text = "".join(c for c in text if not unicodedata.combining(c)).replace("–", " ").replace("—", " ")
    text = re.sub(r"<[^<>]{0,40}>|\[[^\[\]]{0,60}\]|\{[^{}]{0,40}\}", " ", text)  # markup and stage directions of subtitles
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    out: list[str] = []
    for token in _TOKEN.findall(text):
        out += _number(token) if any(c.isdigit() for c in token) else _word(token)
    return out


def _word(token: str) -> list[str]:
    low = token.lower()
    if low in _SHORT:
        return _SHORT[low].split()
    if re.fullmatch(r"(?:[a-z]\.){2,}[a-z]?", low):  # U.S.A.
        return [c for c in low if c != "."]
    parts = [part.strip("'") for part in low.split(".")]
    return [part for part in parts if part]


def _number(token: str) -> list[str]:
    match = _NUMBER.fullmatch(token)
    if match is None:
        return [_ONES[int(c)] for c in token if c.isdigit()]
    money, whole, decimals, ending = match.groups()
    digits = whole.replace(",", "")
    if ending and ending.lower() != "s":
        words = _ordinal(_whole(digits))
    else:
        words = _year(digits) if not money and not decimals and "," not in whole else _whole(digits)
        if ending:
            words = [*words[:-1], _plural(words[-1])]
    if money:
        cents = _whole(decimals.ljust(2, "0")[:2]) if decimals else []
        name = _MONEY[money].removesuffix("s") if digits == "1" and not cents else _MONEY[money]
        return [*words, name, *cents]
    return words + (["point", *(_ONES[int(c)] for c in decimals)] if decimals else [])


def _year(digits: str) -> list[str]:
    """Return 1813 as eighteen thirteen, and other numbers as they are."""
    if len(digits) != 4 or not (1100 <= int(digits) < 2000 or 2010 <= int(digits) < 2100):
        return _whole(digits)
    century, rest = int(digits[:2]), int(digits[2:])
    if rest == 0:
        return [*_below_hundred(century), "hundred"]
    return [*_below_hundred(century), *(["oh", _ONES[rest]] if rest < 10 else _below_hundred(rest))]


def _whole(digits: str) -> list[str]:
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return [_ONES[int(c)] for c in digits]
    return _cardinal(int(digits))


def _cardinal(number: int) -> list[str]:
    if number < 100:
        return _below_hundred(number)
    scale, name = next((s, n) for s, n in _SCALES if number >= s)
    rest = number % scale
    return [*_cardinal(number // scale), name, *(_cardinal(rest) if rest else [])]


def _below_hundred(number: int) -> list[str]:
    if number < 20:
        return [_ONES[number]]
    return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])]


def _ordinal(words: list[str]) -> list[str]:
    last = words[-1]
    if last not in _ORDINALS:
        return [*words[:-1], last[:-1] + "ieth" if last.endswith("y") else last + "th"]
    return [*words[:-1], _ORDINALS[last]]


def _plural(word: str) -> str:
    return word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith("x") else "s")
