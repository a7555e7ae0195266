"""Public names of avatarkit; ``__init__.py`` imports each from here on first use."""

from .animation import LoadedAvatar as LoadedAvatar
from .animation import load as load
from .components import Components as Components
from .config import Recipe as Recipe
from .config import presets as presets
from .errors import AvatarkitError as AvatarkitError
from .errors import ConfigError as ConfigError
from .errors import InputError as InputError
from .errors import MissingDependency as MissingDependency
from .errors import MissingDevice as MissingDevice
from .errors import MissingRequirement as MissingRequirement
from .errors import MissingWeights as MissingWeights
from .errors import PluginError as PluginError
from .errors import StageError as StageError
from .errors import StoreError as StoreError
from .evaluation import evaluate as evaluate
from .hookspecs import Cost as Cost
from .hookspecs import License as License
from .hookspecs import Needs as Needs
from .hookspecs import Weights as Weights
from .hookspecs import hookimpl as hookimpl
from .interfaces import Context as Context
from .io.photo import read_photo as read_photo
from .pipeline.build import build as build
from .registry import Registry as Registry
from .registry.specs import ComponentSpec as ComponentSpec
from .storage.bundle import read_bundle as read_bundle
from .storage.bundle import read_manifest as read_manifest
from .tracking import track_file as track_file
from .training.callbacks import TensorBoardLogger as TensorBoardLogger
from .training.callbacks import TrainingCallback as TrainingCallback
from .types.body import BodyParams as BodyParams
from .types.body import Motion as Motion
from .types.camera import Camera as Camera
from .types.frames import Frame as Frame
from .types.gaussians import Gaussians as Gaussians
from .types.keypoints import Keypoints as Keypoints
from .types.mesh import Mesh as Mesh
from .types.photo import Photo as Photo
from .types.pseudo_labels import LabelClip as LabelClip
from .types.subject import Matte as Matte
from .types.subject import Subject as Subject
from .utils.progress import Progress as Progress

__version__: str
