"""The report: it carries all that it shows, and every picture has words."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from avatarkit.report.page import advice, environment, facts_of, page
from avatarkit.report.parts import curve, marks
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.subject import Notice, Quality
from avatarkit.utils.html import avatar_card
from avatarkit.utils.text import one_line

GRAY = torch.full((40, 30, 3), 0.5)
parts: Any = environment().get_template("parts.html").module


def test_advice_is_chosen_by_the_code_of_a_notice_and_comes_once() -> None:
    notices = [Notice("hands", "The left hand was not seen."), Notice("hands", "The right hand was not seen.")]
    assert [a[:26] for a in advice(notices)] == ["Take a photo with both han"]
    assert len(advice([*notices, Notice("legs", "The legs were not seen."), Notice("light", "The photo is dark.")])) == 3
    assert advice([Notice("other", "Hands, face and legs are words here.")]) == []


def test_plain_sentences_of_a_tracker_become_notices() -> None:
    quality = Quality(warnings=("The cat looks away.",))  # type: ignore[arg-type]
    assert quality.warnings == (Notice("other", "The cat looks away."),)
    assert str(quality.warnings[0]) == "The cat looks away."


def test_a_chart_is_drawn_from_top_to_bottom_and_described() -> None:
    text = parts.chart("colors", curve([(s, 10.0 ** (-s / 50)) for s in range(0, 101, 5)], 100), 100)
    raw = re.search('class="raw" points="([^"]+)"', text)
    assert raw
    points = np.array([[float(v) for v in p.split(",")] for p in raw[1].split()])
    assert np.allclose(points[:, 0], np.linspace(0, 400, 21))
    assert np.allclose(points[:, 1], np.linspace(4, 100, 21), atol=0.1)  # a straight line, since the scale is logarithmic
    assert "colors: 0.47 to 0.03 over 100 steps, between 0.01 and 1" in text
    assert curve([(0, 0.0), (1, 0.0)], 2) is None
    assert "nan" not in parts.chart("one", curve([(0, 0.5)], 0), 0)


def test_dots_are_the_landmarks_that_were_seen_inside_the_picture() -> None:
    points = {"face478": np.array([[5.0, 6.0], [50.0, 6.0], [7.0, 8.0]], np.float32)}
    keypoints = Keypoints(30, 40, points, {"face478": np.array([1.0, 1.0, 0.2], np.float32)})
    assert [path for path, _, _ in marks(keypoints)] == ["M5.0 6.0h0"]
    text = parts.dots(keypoints)
    assert re.findall("M[^h]+h0", text) == ["M5.0 6.0h0"]
    assert 'viewBox="0 0 30 40"' in text


def test_tables_escape_what_they_show_and_put_numbers_right() -> None:
    text = parts.table([("<b>", "1.5"), ("x", "20")], ("what", "value"), 'a "table"')
    assert "<td>&lt;b&gt;</td><td class=number>1.5</td>" in text
    assert 'aria-label="a &#34;table&#34;"' in text


@pytest.mark.parametrize(
    "text",
    [parts.image(GRAY, 'Ada "the" <first>'), parts.slider(GRAY, GRAY), parts.turntable([GRAY] * 3, (-10.0, 0.0, 10.0))],
    ids=["image", "slider", "turntable"],
)
def test_pictures_and_handles_have_words(text: str) -> None:
    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            of = dict(attributes)
            if tag == "img":
                assert of["alt"] and (of["src"] or "").startswith("data:image/jpeg;base64,")
            if tag == "input":
                assert of["aria-label"]
            seen.append(tag)

    seen: list[str] = []
    Reader().feed(text)
    assert {"img", "input"} & set(seen)


HOSTILE = "</script><script>owned()</script><img src=x onerror=owned()>\"'--><!--\u2028\u202e\x1b[31m@BODY@\udc80"


def hostile_manifest(text: str) -> dict[str, Any]:
    """Facts of an avatar in which every text is ``text``."""
    return {
        "avatarkit": text, "device": text, "seed": text, "recipe": {"name": text}, "consent": text, "warnings": [f"hand {text}"],
        "metrics": {text: 1.0}, "stages": {text: {"seconds": 1.0, "peak_memory_mb": 2.0}},
        "licenses": {text: {"code": text, "weights": text, "commercial": None, "doubt": text}},
        "seen": {"face": True, "legs": False, text: False}, "consent_record": {"scope": [text], "until": text},
    }  # fmt: skip


def test_no_text_of_a_manifest_becomes_an_element() -> None:
    def elements(text: str) -> list[tuple[str, list[str]]]:
        found: list[tuple[str, list[str]]] = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
                found.append((tag, [name for name, _ in attributes]))

        manifest = hostile_manifest(text)
        notices = [Notice("hands", text)]
        shown = page(
            one_line(text),
            figures=[(GRAY, text, text)],
            keypoints=Keypoints(30, 40, {}, {}),
            sheets=[(text, [(GRAY, text)])],
            steps=1,
            curves={text: curve([(0, 1.0), (1, 0.5)], 1)},
            **facts_of(manifest, notices, text),
        )
        rest = [parts.table([(text, text)], (text, text), text), avatar_card(text, text, manifest, {text: b"png"})]
        shown = "".join([shown, *rest])
        shown.encode()
        assert not {"\x1b", "\u202e", "\u2028"} & set(shown)
        assert "script-src 'sha256-" in shown and "script-src 'unsafe-inline'" not in shown
        reader = Reader()
        reader.feed(shown)
        reader.close()
        return found

    assert elements(HOSTILE) == elements("Ada")


def test_the_card_says_what_is_real_what_is_a_guess_and_the_terms() -> None:
    manifest = hostile_manifest("Ada") | {"licenses": {"a/b": {"code": "MIT", "weights": "none", "commercial": False}}}
    shown = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page("Ada", **facts_of(manifest, [], "x"))))
    card = shown.partition("Model card")[2].partition("Time and memory")[0]
    real, guess = card.partition("A guess")[::2]
    assert "face" in real and "legs" not in real
    assert "legs: not fully seen" in guess and "face: not" not in guess
    assert "Commercial use: forbidden by 1 component ;" in card or "Commercial use: forbidden by 1 component;" in card
    assert "Scope: Ada; until Ada" in card
