"""English spelling to sounds, for words that the dictionary lacks: good enough for lips, not for a voice.

First it looks for words of the dictionary in the word ("blockchain", "Claflin's"), then it spells by rule. It is our own because
g2p-en downloads its data, gruut excludes networkx 3, eSpeak is under the GPL, and g2p2 adds 30 MB made from share-alike data.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["by_rule", "spell"]


def _table(text: str) -> dict[str, str]:
    """Return word -> sounds, from "WORD SOUNDS, WORD SOUNDS"."""
    rows = (row.split(None, 1) for row in text.split(","))
    return {word: " ".join(sounds.split()) for word, sounds in rows}


_LETTERS = _table(
    """
    a EY, b B IY, c S IY, d D IY, e IY, f EH F, g JH IY, h EY CH, i AY, j JH EY, k K EY, l EH L, m EH M, n EH N, o OW, p P
    IY, q K Y UW, r AA R, s EH S, t T IY, u Y UW, v V IY, w D AH B AH L Y UW, x EH K S, y W AY, z Z IY
    """
)
# Spelling (a regular expression, matched where the word stands) -> sounds; the first that fits is taken.
_V, _C = "[aeiouy]", "[bcdfghjklmnpqrstvwxz]"
_RULES = [(re.compile(pattern), sounds) for pattern, sounds in (
    ("tion", "SH AH N"), ("ssion", "SH AH N"), ("sion", "ZH AH N"), ("cial|tial", "SH AH L"), ("ture(?!.)", "CH ER"),
    ("ought|aught", "AO T"), ("ough", "AO"), ("eigh", "EY"), ("igh", "AY"), ("tch", "CH"), ("dge", "JH"), ("sch", "S K"),
    ("(?<!.)kn", "N"), ("(?<!.)wr", "R"), ("(?<!.)gn", "N"), ("(?<!.)ps", "S"), ("mb(?!.)", "M"), ("ck", "K"), ("ch", "CH"),
    ("sh", "SH"), ("th", "TH"), ("ph", "F"), ("wh", "W"), ("gh", ""), ("ng(?!.)", "NG"), ("nk", "NG K"), ("qu", "K W"),
    ("ee|ea|ie(?=.)", "IY"), ("oo", "UW"), ("ou", "AW"), ("ow(?!.)", "OW"), ("ow", "AW"), ("oi|oy", "OY"),
    ("ai|ay|ei|ey(?=.)", "EY"), ("au|aw|all(?!.)", "AO"), ("ew|ue(?!.)|eu", "UW"), ("oa", "OW"), ("ie(?!.)", "AY"),
    ("ey(?!.)", "IY"), ("are(?!.)", "EH R"), ("ar", "AA R"), ("ore?", None), ("er|ir|ur", "ER"),
    (f"a(?={_C}es?(?!.))", "EY"), (f"e(?={_C}es?(?!.))", "IY"), (f"i(?={_C}es?(?!.))", "AY"), (f"o(?={_C}es?(?!.))", "OW"),
    (f"u(?={_C}es?(?!.))", "UW"), ("(?<=.)e(?=s?(?!.))(?<!(?<!.).)", ""), ("(?<=[a-z][a-z][^td])ed(?!.)", "D"),
    ("o(?!.)", "OW"), ("i(?!.)|y(?!.)", "IY"), ("a(?!.)", "AH"), ("i(?=nd(?!.)|ld(?!.))", "AY"), ("o(?=ld)", "OW"),
    ("c(?=[eiy])", "S"), ("g(?=[eiy])", "JH"), ("a", "AE"), ("e", "EH"), ("i|y(?!" + _V + ")", "IH"), ("o", "AA"), ("u", "AH"),
    ("y", "Y"), (r"([bdfglmnprt])\1", None), ("ss", "S"), ("zz", "Z"), ("cc|kk", "K"), ("c", "K"), ("q", "K"), ("x", "K S"),
    ("j", "JH"), ("h", "HH"), ("s(?<=[aeioubdgvlmnrwy]s)(?!.)", "Z"), ("[bdfgklmnprstvwz]", None),
)]  # fmt: skip


_SUFFIXES = _table("ing IH NG, ed D, ers ER Z, er ER, ly L IY, ness N AH S, less L AH S, able AH B AH L, ful F AH L")
_HISSES = ("S", "Z", "SH", "ZH", "CH", "JH")
_MUTE = ("P", "T", "K", "F", "TH")


def spell(word: str, lookup: Callable[[str], list[str] | None]) -> list[str]:
    """Return the sounds of a word in ARPAbet without stress; empty if it has no letter a to z.

    Args:
        word: letters and apostrophes, in lower case.
        lookup: returns the sounds of a word of the dictionary, or None.
    """
    plain = "".join(c for c in word if c in "abcdefghijklmnopqrstuvwxyz'").strip("'")
    return lookup(plain) or _from_parts(plain, lookup) or by_rule(plain) if plain else []


def _from_parts(word: str, lookup: Callable[[str], list[str] | None]) -> list[str]:
    """Return the sounds of a word that is made of words of the dictionary; empty if it is not."""
    stem = word.removesuffix("'s").removesuffix("s'") if "'" in word else word.removesuffix("s")
    if stem != word and len(stem) > 1 and (found := lookup(stem)):
        return [*found, *(["IH", "Z"] if found[-1] in _HISSES else ["S"] if found[-1] in _MUTE else ["Z"])]
    if "'" in word:
        return _from_parts(word.replace("'", ""), lookup) or by_rule(word.replace("'", ""))
    for suffix, sounds in _SUFFIXES.items():
        stem = word.removesuffix(suffix)
        if stem != word and len(stem) > 2 and (found := lookup(stem) or lookup(stem + "e")):
            end = sounds.split()
            return [*found, *(["T"] if suffix == "ed" and found[-1] in _MUTE else end)]
    for cut in sorted(range(3, len(word) - 2), key=lambda k: abs(k - len(word) / 2)):
        first, second = lookup(word[:cut]), lookup(word[cut:])
        if first and second:
            return [*first, *second]
    return []


def by_rule(word: str) -> list[str]:
    """Return the sounds of a word by rule; a word without vowels is spelt letter by letter."""
    if len(word) == 1 or not any(c in "aeiouy" for c in word):
        return " ".join(_LETTERS[c] for c in word if c in _LETTERS).split()
    sounds, at = [], 0
    while at < len(word):
        for pattern, said in _RULES:
            hit = pattern.match(word, at)
            if hit and hit.end() > at:
                own = hit.group()
                sounds.append(("AO R" if own.startswith("or") else own[0].upper()) if said is None else said)
                at = hit.end()
                break
        else:
            at += 1
    return " ".join(s for s in sounds if s).split()
