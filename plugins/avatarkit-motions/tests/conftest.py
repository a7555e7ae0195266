import pytest
import torch

from avatarkit.components import Components
from avatarkit.config import SLOTS, Recipe
from avatarkit.interfaces import BodyModel
from avatarkit.motion.pose_solver import PoseSolver
from avatarkit_motions.source import BuiltinMotions


def components(**options) -> Components:
    """A recipe with the body model of the default stack and the built-in motions."""
    tables = {slot: {"use": "nothing"} for slot in SLOTS}  # slots that the test does not use
    recipe = Recipe.from_dict(tables | {"body": {"use": "anny"}, "motions": {"use": "builtin", **options}})
    return Components(recipe, device="cpu")


@pytest.fixture(scope="session")
def build():
    """Makes components with options of the motions."""
    return components


@pytest.fixture(scope="session")
def default() -> Components:
    torch.set_num_threads(1)
    return components()


@pytest.fixture(scope="session")
def body(default: Components) -> BodyModel:
    return default.get("body")


@pytest.fixture(scope="session")
def source(default: Components) -> BuiltinMotions:
    return default.get("motions")


@pytest.fixture(scope="session")
def solver(body: BodyModel) -> PoseSolver:
    return PoseSolver(body)
