"""The hooks that a plugin may implement, and the descriptor that it registers.

Fast to import: it needs the standard library and pluggy. A plugin's ``__init__`` holds hook implementations only::

    from avatarkit.hookspecs import License, hookimpl

    @hookimpl
    def register_losses(register):
        register("my-loss", target="my_package.loss:MyLoss", config="my_package.config:Config", summary="...")

Its project names the package in the entry-point group ``avatarkit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from avatarkit.utils.moved import former_fields, former_names

__all__ = ["FEATURES", "Cost", "License", "Needs", "Register", "Weights", "hookimpl", "hookspec"]

FEATURES = ("anisotropic", "sh")
"""What Gaussians may be beyond spheres of one color: ellipsoids, and of colors that depend on the direction of view."""

hookspec = pluggy.HookspecMarker("avatarkit")
hookimpl = pluggy.HookimplMarker("avatarkit")


@former_fields(licence="license")
@dataclass(frozen=True)
class Weights:
    """Third-party checkpoint files that are not shipped with the plugin.

    Attributes:
        name: name for ``avatarkit weights``; letters, digits, ``.``, ``_``, ``+`` and ``-``.
        source: web page of the files.
        license: license, in a few words.
        commercial: whether the license allows commercial use; None = ask the source.
        gated: whether you must register with the source before you can download.
        repository: ``owner/name`` on Hugging Face to download from; empty = they must be downloaded by hand.
        revision: branch, tag or commit of the repository.
        files: paths or patterns in the repository; the leading folder ``strip`` is removed.
        strip: leading folder of ``files`` that is not kept.
        size: bytes of all files, as far as known.
        sha256: (path, hexadecimal digest) of files whose digest is known in advance; others are checked against the server's.
        single: one file, kept as ``NAME.suffix``; otherwise a folder ``NAME``.
        data: terms of the data that they were trained on, or "not stated".
        doubt: what is uncertain about the terms, in a sentence.
    """

    name: str
    source: str
    license: str
    commercial: bool | None = None
    gated: bool = False
    repository: str = ""
    revision: str = "main"
    files: tuple[str, ...] = ()
    strip: str = ""
    size: int | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    single: bool = False
    data: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Cost:
    """Memory and time of a component, for estimates before a build.

    Attributes:
        device: ``cpu`` or ``cuda``, where the figures hold.
        source: where the figures come from, and the hardware.
        memory_gb: peak memory of that device.
        seconds_per_frame: per frame of a clip.
        seconds_per_step: per training step, for a view of 640 x 640.
    """

    device: str
    source: str
    memory_gb: float | None = None
    seconds_per_frame: float | None = None
    seconds_per_step: float | None = None


@dataclass(frozen=True)
class Needs:
    """Requirements of a component, checked before a build.

    Attributes:
        modules: importable Python modules.
        weights: names known to ``avatarkit weights``.
        device: ``cuda`` if the component runs on nothing else.
        sources: where ``weights`` come from, and their licenses.
        costs: memory and time, for each device that was measured.
    """

    modules: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    device: str | None = None
    sources: tuple[Weights, ...] = ()
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class License:
    """Terms under which a component may be used.

    Attributes:
        code: SPDX name of the code's license.
        weights: license of model files or data, with their source, or "none".
        commercial: whether commercial use of code and weights together is allowed; None = ask the source.
        data: terms of the data that the weights were trained on, or "not stated"; empty without weights.
        source: web page of these terms.
        doubt: what is uncertain about them, in a sentence.
    """

    code: str = "Apache-2.0"
    weights: str = "none"
    commercial: bool | None = True
    data: str = ""
    source: str = ""
    doubt: str = ""


class Register(Protocol):
    """The function that a ``register_...`` hook receives; call it once per component."""

    def __call__(
        self,
        name: str,
        *,
        target: str,
        config: str | None = None,
        summary: str = "",
        needs: Needs = Needs(),
        extra: str | None = None,
        license: License = License(),
        revision: int = 1,
        features: tuple[str, ...] = (),
    ) -> None:
        """Register a component without importing it.

        Args:
            name: name in recipes and flags, lower case with hyphens.
            target: ``package.module:Class``, an implementation of the interface.
            config: ``package.module:Class``, a frozen dataclass of its options; None = no options.
            summary: one line for lists.
            needs: requirements, checked before any stage runs.
            extra: name of the pip extra that installs its large dependencies.
            license: license of code and weights, shown in lists and manifests.
            revision: raise it when results change, so that cached stages run again.
            features: of ``FEATURES``, what an avatar's Gaussians may be, or what a renderer draws. A build does not start with a
                renderer that cannot draw its avatar. A config's attribute ``features`` wins, where options decide.
        """
        ...


@hookspec
def register_matting_models(register: Register) -> None:
    """Register implementations of ``MattingModel``."""


@pluggy.HookspecMarker("avatarkit")(
    warn_on_impl=DeprecationWarning("The hook register_matters is called register_matting_models now.")
)
def register_matters(register: Register) -> None:
    """Former name of ``register_matting_models``; removed in version 0.3."""


@hookspec
def register_keypoint_detectors(register: Register) -> None:
    """Register implementations of ``KeypointDetector``."""


@hookspec
def register_body_models(register: Register) -> None:
    """Register implementations of ``BodyModel``."""


@hookspec
def register_trackers(register: Register) -> None:
    """Register implementations of ``Tracker``."""


@hookspec
def register_motion_sources(register: Register) -> None:
    """Register implementations of ``MotionSource``."""


@hookspec
def register_speech_drivers(register: Register) -> None:
    """Register implementations of ``SpeechDriver``."""


@hookspec
def register_speech_synthesizers(register: Register) -> None:
    """Register implementations of ``SpeechSynthesizer``."""


@hookspec
def register_pseudo_labelers(register: Register) -> None:
    """Register implementations of ``PseudoLabeler``.

    The summary says whether they generate body clips, head clips or both.
    """


@hookspec
def register_avatars(register: Register) -> None:
    """Register implementations of ``AvatarModel``."""


@hookspec
def register_losses(register: Register) -> None:
    """Register implementations of ``Loss``."""


@hookspec
def register_renderers(register: Register) -> None:
    """Register renderers.

    A renderer is a class with the attributes ``gaussians: GaussianRasterizer`` and ``meshes: MeshRasterizer``.
    """


@hookspec
def register_exporters(register: Register) -> None:
    """Register implementations of ``Exporter``."""


@hookspec
def register_commands(cli: Any) -> None:
    """Add commands to the command line; ``cli`` is the Typer application."""


@hookspec
def use_avatar(manifest: dict[str, Any], purpose: str, policy: dict[str, str]) -> None:
    """Check an avatar before it is used; raise an ``AvatarkitError`` to refuse.

    Args:
        manifest: of the avatar.
        purpose: ``play`` when it is loaded, ``voice`` when it is made to speak, ``build`` before it is built.
        policy: what the user asked for, see ``Registry.policy``.
    """


@hookspec
def finish_output(path: str, target: str, manifest: dict[str, Any], policy: dict[str, str]) -> dict[str, bytes] | None:
    """Change what an avatar's owner gets, before it takes its name: a picture, film, page, export, or the avatar itself.

    Args:
        path: the complete file or folder under a temporary name; may be changed in place.
        target: the name that it takes.
        manifest: of the avatar.
        policy: what the user asked for, see ``Registry.policy``.

    Returns:
        File name -> content of what is written beside ``target``, or None.
    """


@hookspec
def cached_files(folder: str) -> dict[str, str] | None:
    """Say what the plugin keeps in the user's cache folder and can make again, so that ``avatarkit clean`` may free it.

    Args:
        folder: the cache folder; it may hold files of the user's, so name only what the plugin surely made.

    Returns:
        Path of each file or folder that is there -> what it is, in a few words; or None.
    """


@hookspec
def stage_finished(stage: str, folder: str, seconds: float) -> None:
    """Observe the end of each stage of a build."""


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"Licence": "License"})
