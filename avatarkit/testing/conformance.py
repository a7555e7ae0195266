"""Conformance checks: test a component against the contract in ``avatarkit.interfaces``."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from avatarkit.config.options import options_of
from avatarkit.errors import AvatarkitError, ConfigError
from avatarkit.interfaces import PROTOCOLS, optional_members, with_defaults
from avatarkit.registry.requirements import requirements
from avatarkit.registry.specs import ComponentSpec
from avatarkit.testing.material import Material
from avatarkit.testing.method import memory_registry
from avatarkit.validation import Violation

__all__ = [
    "PROTOCOLS",
    "Case",
    "Check",
    "CheckFailed",
    "Finding",
    "Skipped",
    "check_component",
    "checks_of",
    "conformance",
    "expect",
]


class CheckFailed(AssertionError):
    """A component violates its contract; the text says how."""


class Skipped(Exception):
    """A check does not apply; the text says why."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of the check.
        state: ``passed``, ``failed`` or ``skipped``.
        detail: what is wrong, or why it was skipped.
    """

    check: str
    state: Literal["passed", "failed", "skipped"]
    detail: str = ""


@dataclass
class Case:
    """A component and the material that it is tested on.

    Attributes:
        component: its descriptor.
        material: the person, photo and other components.
        options: options of the component.
    """

    component: ComponentSpec
    material: Material
    options: Mapping[str, Any]

    def make(self) -> Any:
        """Return a new instance."""
        return with_defaults(self.component.create(self.options, self.material.context), PROTOCOLS[self.component.kind])


Check = Callable[[Case], None]


def expect(condition: Any, message: str) -> None:
    """Fail the check unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(message)


# ----------------------------------------------------------------------------------------------------- for every kind


def _descriptor_is_complete(case: Case) -> None:
    """The name is lower case with hyphens and the summary is one line, for lists."""
    component = case.component
    expect(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", component.name), f"the name {component.name!r} is not lower case with hyphens")
    expect(component.summary and "\n" not in component.summary, "register(...) got no summary of one line")


def _options_are_documented(case: Case) -> None:
    """The config is a frozen dataclass, complete without arguments, with a docstring under each field."""
    cls = case.component.config_type()
    if cls is None:
        return
    expect(dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass")
    expect(cls.__dataclass_params__.frozen, f"{cls.__name__} is not frozen: @dataclass(frozen=True)")  # type: ignore[attr-defined]
    case.component.make_config({})
    for option in options_of(cls):
        expect(option.help, f"the option {option.name!r} has no docstring under its field, which is its help")


def _unknown_options_are_refused(case: Case) -> None:
    """An unknown option raises ConfigError."""
    try:
        case.component.make_config({"no_such_option": 1})
    except ConfigError:
        return
    raise CheckFailed("the unknown option 'no_such_option' was accepted; use a dataclass as config")


def _implements_the_interface(case: Case) -> None:
    """All members exist, and methods accept the arguments of the interface."""
    made = case.make()
    protocol = PROTOCOLS[case.component.kind]
    for name in _members(protocol):
        if name in optional_members(protocol):
            continue
        expect(hasattr(made, name), f"{protocol.__name__}.{name} is missing")
        promised = getattr(protocol, name, None)
        if inspect.isfunction(promised) and name != "__call__":
            _takes_the_same(promised, getattr(made, name), f"{protocol.__name__}.{name}")


def _members(protocol: type) -> list[str]:
    names = [n for n in vars(protocol) if not n.startswith("_") or n == "__call__"]
    return sorted({*names, *protocol.__annotations__})


def _takes_the_same(promised: Callable[..., Any], given: Callable[..., Any], what: str) -> None:
    """Check that a method accepts the interface's arguments by position and by name.

    Further arguments are allowed if they have defaults.
    """
    wanted = [p for p in inspect.signature(promised).parameters.values() if p.name != "self"]
    got = inspect.signature(given)
    positional = [inspect.Parameter.empty for p in wanted if p.kind == p.POSITIONAL_OR_KEYWORD]
    named = {p.name: None for p in wanted if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is not p.empty}
    required = positional[: len(positional) - len(named)]
    try:
        got.bind(*positional)
        got.bind(*required, **named)
    except TypeError as error:
        text = ", ".join(p.name if p.default is p.empty else f"{p.name}=..." for p in wanted)
        raise CheckFailed(f"{what} takes ({text}), this one does not: {error}") from None


COMMON: tuple[Check, ...] = (
    _descriptor_is_complete,
    _options_are_documented,
    _unknown_options_are_refused,
    _implements_the_interface,
)


# ----------------------------------------------------------------------------------------------------------- running


def checks_of(kind: str) -> tuple[Check, ...]:
    """Return the checks for a kind of component, in order."""
    from avatarkit.testing.people import PEOPLE_CHECKS
    from avatarkit.testing.pictures import PICTURE_CHECKS

    return (*COMMON, *(PEOPLE_CHECKS | PICTURE_CHECKS)[kind])


def name_of(check: Check) -> str:
    """Return the name of a check for tables."""
    return check.__name__.strip("_").replace("_", " ")


def check_component(
    component: ComponentSpec, material: Material | None = None, options: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Run all checks for the component's kind.

    Args:
        component: from a registry.
        material: what to test it on; None = the tiny person.
        options: options of the component.

    Returns:
        One finding for each check; if a requirement of the component is missing, all are skipped.
    """
    case = Case(component, material or Material(), dict(options or {}))
    return [run_check(check, case) for check in checks_of(component.kind)]


def run_check(check: Check, case: Case) -> Finding:
    """Run one check; any exception of the component is a failure that names it."""
    name = name_of(check)
    missing = [r for r in requirements(case.component) if not r.met]
    if missing and check not in COMMON[:3]:
        return Finding(name, "skipped", f"needs the {missing[0].kind} {missing[0].name!r}: {missing[0].remedy}")
    random = torch.get_rng_state()
    try:
        check(case)
        expect(
            torch.equal(random, torch.get_rng_state()), "torch's global random generator was used; create a generator of your own"
        )
    except Skipped as reason:
        return Finding(name, "skipped", str(reason))
    except (CheckFailed, Violation) as failure:
        return Finding(name, "failed", str(failure))
    except AvatarkitError as error:
        return Finding(name, "failed", f"{type(error).__name__}: {error}")
    except Exception as error:
        where = _place(error, case.component)
        return Finding(name, "failed", f"it raised {type(error).__name__}: {error}{where}")
    return Finding(name, "passed")


def _place(error: BaseException, component: ComponentSpec) -> str:
    """Return file and line of the innermost frame in the component's own package."""
    package, found, trace = component.target.partition(":")[0].partition(".")[0], "", error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            found = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def conformance(
    *plugins: Any, material: Material | None = None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[..., None]:
    """Return pytest tests for all components of ``plugins``.

    Assign the result to a name that starts with ``test_``.

    Args:
        plugins: modules with hooks.
        material: what to test components on; None = the tiny person.
        options: name of a component -> its options.

    Raises:
        PluginError: a plugin is broken.
    """
    import pytest

    registry = memory_registry(*plugins)
    names = {plugin.__name__ for plugin in plugins}
    cases = list(_cases(registry.all_components(), names, material or Material(), options or {}))
    ids = [f"{case.component.kind}-{case.component.name}-{name_of(check).replace(' ', '_')}" for case, check in cases]

    @pytest.mark.parametrize(("case", "check"), cases, ids=ids)
    def test_conformance(case: Case, check: Check) -> None:
        finding = run_check(check, case)
        if finding.state == "skipped":
            pytest.skip(finding.detail)
        if finding.state == "failed":
            pytest.fail(f"{case.component.owner}: {finding.detail}\nThe promise: {inspect.getdoc(check)}", pytrace=False)

    return test_conformance


def _cases(
    components: list[ComponentSpec], names: set[str], material: Material, options: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[Case, Check]]:
    for component in components:
        if component.plugin.name in names:
            case = Case(component, material, options.get(component.name, {}))
            for check in checks_of(component.kind):
                yield case, check
