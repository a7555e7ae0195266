"""Configs: frozen dataclasses made from plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarkit.config.options import Formerly, Range, did_you_mean, make_config, options_of
from avatarkit.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    depth: int = 3
    """How deep."""


@dataclass(frozen=True)
class Everything:
    """All types that a config may have."""

    needed: int
    """Must be given."""
    ratio: float = 0.5
    """A part of the whole,
    on two lines."""
    flag: bool = False
    word: str = "a"
    """A word."""
    mode: Literal["slow", "fast", 3] = "slow"
    """How."""
    maybe: float | None = None
    """Or none."""
    pair: tuple[int, float] = (1, 2.0)
    """Two numbers."""
    many: tuple[str, ...] = ()
    """Words."""
    table: dict[str, float] | None = None
    """Numbers by name."""
    file: Path = Path()
    """Where."""
    inner: Inner = Inner()
    """Nested."""

    def __post_init__(self) -> None:
        if self.needed < 0:
            raise ValueError("needed must not be negative")


def test_every_type_is_taken_from_plain_values() -> None:
    made = make_config(
        Everything,
        {
            "needed": 4, "ratio": 1, "flag": True, "word": "b", "mode": 3, "maybe": 2, "pair": [3, 4],
            "many": ["x", "y"], "table": {"a": 1}, "file": "a/b", "inner": {"depth": 7},
        },
    )  # fmt: skip
    assert made == Everything(4, 1.0, True, "b", 3, 2.0, (3, 4.0), ("x", "y"), {"a": 1.0}, Path("a/b"), Inner(7))
    assert type(made.ratio) is float
    assert make_config(Everything, {"needed": 1, "maybe": "none"}).maybe is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("needed", 1.5, "a whole number"),
        ("needed", True, "a whole number"),
        ("needed", "3", "a whole number"),
        ("ratio", "x", "a number"),
        ("ratio", True, "a number"),
        ("flag", 1, "true or false"),
        ("word", 3, "text"),
        ("mode", "fst", "one of 'slow', 'fast', 3"),
        ("maybe", "x", "a number or none"),
        ("pair", [1], "a list [a whole number, a number]"),
        ("many", "xy", "a list [text, ...]"),
        ("table", {"a": "b"}, "a table or none"),
        ("inner", 3, "a table"),
        ("file", 3, "a path"),
    ],
)
def test_a_wrong_type_says_what_it_must_be_and_where_it_came_from(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(Everything, {"needed": 1, name: value}, owner="tracker 'x'", origins={name: "recipe y.toml"})
    message = str(caught.value)
    assert f"Option {name!r} of tracker 'x' must be" in message
    assert expected in message
    assert "(from recipe y.toml)" in message


def test_an_unknown_option_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"has no option 'rato'\. Did you mean 'ratio'\? Its options: needed, ratio"):
        make_config(Everything, {"needed": 1, "rato": 2})


@dataclass(frozen=True)
class Renamed:
    rounds: Annotated[int, Range(0, 9), Formerly("laps")] = 2


def test_a_former_name_of_an_option_still_works() -> None:
    assert make_config(Renamed, {"laps": 5}) == Renamed(rounds=5)
    assert [option.name for option in options_of(Renamed)] == ["rounds"]
    with pytest.raises(ConfigError, match=r"Option 'rounds' of x must be 0 to 9, not 10 \(from --set laps=10\)"):
        make_config(Renamed, {"laps": 10}, owner="x", origins={"laps": "--set laps=10"})
    with pytest.raises(ConfigError, match="x gets 'laps' and 'rounds', which are one option. Leave out 'laps'"):
        make_config(Renamed, {"rounds": 1, "laps": 1}, owner="x")


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs the option 'needed' \(a whole number\)"):
        make_config(Everything, {})


def test_what_the_dataclass_itself_refuses_is_told() -> None:
    with pytest.raises(ConfigError, match="needed must not be negative"):
        make_config(Everything, {"needed": -1})


def test_help_is_the_docstring_under_the_field() -> None:
    options = {o.name: o for o in options_of(Everything)}
    assert options["ratio"].help == "A part of the whole, on two lines."
    assert options["flag"].help == ""
    assert (options["needed"].default, options["flag"].default, options["maybe"].default) == ("", "false", "none")
    assert options["word"].default == '"a"'
    assert options["pair"].default == "[1, 2.0]"


def test_nothing_close_is_not_suggested() -> None:
    assert did_you_mean("zzz", ["alpha", "beta"]) == ""


@given(
    st.dictionaries(st.sampled_from(["needed", "ratio", "word", "mode", "maybe", "many"]), st.integers() | st.text())
)
def test_any_plain_values_make_a_config_or_a_config_error(values: dict[str, Any]) -> None:
    try:
        made = make_config(Everything, values)
    except ConfigError:
        return
    assert isinstance(made.needed, int)
    assert isinstance(made.ratio, float)
    assert isinstance(made.word, str)
