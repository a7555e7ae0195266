"""English spelling to sounds, by rule: good enough for lips, not for a voice."""

from __future__ import annotations

import re

__all__ = ["phonemes"]


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
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Frequent words that the rules get wrong.
_WORDS = _table(
    """
    a AH, the DH AH, of AH V, to T UW, too T UW, two T UW, do D UW, who HH UW, you Y UW, your Y AO R, one W AH N, once W AH
    N S, was W AH Z, were W ER, are AA R, what W AA T, there DH EH R, their DH EH R, where W EH R, said S EH D, says S EH Z,
    have HH AE V, has HH AE Z, some S AH M, come K AH M, done D AH N, love L AH V, does D AH Z, they DH EY, this DH IH S,
    that DH AE T, these DH IY Z, those DH OW Z, them DH EH M, then DH EH N, than DH AE N, with W IH DH, i AY, my M AY, by B
    AY, why W AY, he HH IY, she SH IY, me M IY, we W IY, be B IY, no N OW, so S OW, go G OW, know N OW, now N AW, how HH AW,
    down D AW N, our AW ER, zero Z IH R OW, seven S EH V AH N, eight EY T, four F AO R, again AH G EH N, any EH N IY, many M
    EH N IY, people P IY P AH L, because B IH K AO Z, could K UH D, would W UH D, should SH UH D, ask AE S K, put P UH T,
    great G R EY T, give G IH V, live L IH V, very V EH R IY, is IH Z, his HH IH Z, as AE Z, friend F R EH N D, hello HH AH
    L OW, women W IH M IH N, heart HH AA R T, nine N AY N, other AH DH ER, mother M AH DH ER
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


def phonemes(text: str) -> list[list[str]]:
    """ARPAbet without stress, word by word.

    An empty word is a pause (comma, full stop).

    Args:
        text: English; letters on their own are spelt, numbers are read digit by digit, other signs are left out.
    """
    out: list[list[str]] = []
    for word in re.findall(r"[a-z']+|\d|[,.;:!?]", text.lower()):
        if word in ",.;:!?":
            out.append([])
            continue
        plain = _DIGITS[int(word)] if word.isdigit() else word.replace("'", "")
        if plain in _WORDS:
            sounds = _WORDS[plain]
        elif plain[-1:] == "s" and plain[:-1] in _WORDS:
            sounds = _WORDS[plain[:-1]] + " Z"
        else:
            sounds = _LETTERS.get(plain) or _by_rule(plain)
        if sounds:
            out.append(sounds.split())
    return out


def _by_rule(word: str) -> str:
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
    return " ".join(s for s in sounds if s)
