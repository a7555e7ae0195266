"""What the nodes ask of ComfyUI: folders, names of outputs, the progress bar and whether the user has interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths  # ComfyUI's

__all__ = ["ComfyProgress", "check_interrupt", "found", "located", "output_name", "temporary_folder"]

_STEPS = 1000  # of the progress bar
_DEPTH = 3  # folders below ComfyUI's output and input in which files are looked for


def temporary_folder() -> Path:
    """Return a folder of ours in ComfyUI's temporary folder, which ComfyUI empties when it starts."""
    folder = Path(folder_paths.get_temp_directory()) / "avatarkit"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def output_name(prefix: str, suffix: str) -> tuple[Path, str]:
    """Return a new path in ComfyUI's output folder, numbered as ComfyUI's own outputs are, and its subfolder."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder) / f"{name}_{counter:05}_{suffix}", subfolder


def found(*suffixes: str) -> list[str]:
    """List what has one of these suffixes in ComfyUI's input and output folders, by the names that ``located`` takes."""
    places = {"": folder_paths.get_input_directory(), " [output]": folder_paths.get_output_directory()}
    return [
        f"{path.relative_to(root).as_posix()}{mark}"
        for mark, root in places.items()
        for depth in range(_DEPTH)
        for path in sorted(Path(root).glob("*/" * depth + "*"))
        if path.suffix.lower() in suffixes
    ]


def located(name: str) -> Path:
    """Return the path of a name that ``found`` has listed."""
    return Path(folder_paths.get_annotated_filepath(name))


def check_interrupt() -> None:
    """Raise ComfyUI's exception if the user has interrupted the running workflow."""
    import comfy.model_management  # late: it looks for a GPU

    comfy.model_management.throw_exception_if_processing_interrupted()


class ComfyProgress:
    """Shows the running stage in the node's progress bar, and ends the work when the user interrupts.

    Attributes:
        interrupted: ComfyUI's exception, once the user has interrupted; the work may wrap it into an error of its own.
    """

    def __init__(self) -> None:
        import comfy.utils

        self._bar = comfy.utils.ProgressBar(_STEPS)
        self.interrupted: BaseException | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Begin a stage: the bar starts again."""
        self.update(name, 0.0)
        yield

    def update(self, message: str, fraction: float | None = None) -> None:
        """Move the bar."""
        try:
            check_interrupt()
        except BaseException as error:
            self.interrupted = error
            raise
        if fraction is not None:
            self._bar.update_absolute(round(_STEPS * fraction))
