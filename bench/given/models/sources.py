"""Places where a given model and its images come from: objects, files of weights, names of models and folders."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from bench.config import Config
from bench.contracts import SPLITS, DatasetInfo, Sample
from bench.data.findings.folder import findings_dataset
from bench.data.findings.pairs import SPLIT as FINDING_SPLIT
from bench.data.findings.pairs import FindingPairs
from bench.data.findings.table import NAME as FINDING_TABLE
from bench.errors import MissingData, UserError, one_line
from bench.given.models.adapt import unwrapped
from bench.given.models.heads import NAME
from bench.given.models.known import stated_classes, stated_normalisation, stated_size
from bench.given.pixels import Normalisation, channels_of
from bench.models.factory import load_classifier
from bench.models.initial_weights import read_initial_weights
from bench.run.named_data import read_as, resolve_datasets

Build = Callable[..., nn.Module]
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_FORMS = "torchvision:NAME, timm:NAME, FILE.py:FUNCTION, or a file that export wrote"


@dataclass(frozen=True)
class Source:
    """A trained model and what is known about it.

    Attributes:
        model: the model.
        backbone, head, seed: its names in tables; those of the run for an exported classifier.
        classes: names in the order of the outputs; None = unknown.
        normalisation: mean and deviation per channel that it states; None = unknown.
        size: side of its images in pixels; None = unknown.
        said: facts that a reader must know.
    """

    model: nn.Module
    backbone: str
    head: str = NAME
    seed: int = 0
    classes: tuple[str, ...] | None = None
    normalisation: Normalisation | None = None
    size: int | None = None
    said: tuple[str, ...] = ()


def open_model(model: Any, builder: Build | None = None, normalisation: Normalisation | None = None) -> Source:
    """Returns the model itself, or reads it from a file.

    Args:
        model: a module, or the path of a file: of weights for ``builder``, otherwise one that ``export`` wrote.
        builder: makes the module that the weights belong to; called without arguments.
        normalisation: the one that the model is known to need; None = the one that it states.

    Raises:
        UserError: the file cannot be read, or its weights do not fit.
    """
    if isinstance(model, str | Path) and builder is not None:
        built = builder()
        load_weights(built, Path(model))
        model = built
    elif isinstance(model, str | Path):
        return _exported(Path(model))
    if not isinstance(model, nn.Module):
        return Source(model, type(model).__name__, normalisation=normalisation)
    inner = unwrapped(model)
    stated = stated_normalisation(inner)
    known = normalisation or ((channels_of(stated[0], "mean"), channels_of(stated[1], "std")) if stated else None)
    names = stated_classes(inner)
    return Source(model, type(inner).__name__, classes=names, normalisation=known, size=stated_size(inner))


def _exported(path: Path) -> Source:
    classifier, about = load_classifier(path)
    known = channels_of(about["mean"], "mean"), channels_of(about["std"], "std")
    names = about["backbone"], about["head"], int(about["seed"])
    return Source(classifier, *names, tuple(about["classes"]), known, int(about["size"]))


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads all weights of a file into a model.

    Raises:
        UserError: the file cannot be read, or a weight is missing, of another shape or without a place.
    """
    read = read_initial_weights(path).tensors
    state = model.state_dict()
    named = [{prefix + name: value for name, value in read.items()} for prefix in ("", "model.", "module.")]
    tensors = next((one for one in named if one.keys() >= {key for key in state if "num_batches" not in key}), read)
    missing = [name for name in state if name not in tensors and "num_batches_tracked" not in name]
    extra = [name for name in tensors if name not in state]
    shapes = [name for name in state if name in tensors and tensors[name].shape != state[name].shape]
    if missing or extra or shapes:
        faults = {"missing": missing, "unexpected": extra, "of another shape": shapes}
        told = "; ".join(f"{len(names)} {what} (such as {names[0]})" for what, names in faults.items() if names)
        raise UserError(f"{path} does not fit {type(model).__name__}: {told}; check the builder and number of classes")
    model.load_state_dict(tensors, strict=False)


def model_builder(spec: str, classes: int | None) -> tuple[Build, Normalisation | None]:
    """Reads the name of a model -> what builds it, and the normalisation that such models usually need.

    Args:
        spec: ``torchvision:NAME``, ``timm:NAME`` or ``FILE.py:FUNCTION``.
        classes: number of outputs; None = as the builder has it.

    Raises:
        UserError: the name has another form, or there is no such model or function.
        MissingData: timm is not installed.
    """
    kind, _, name = spec.rpartition(":")
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if kind == "torchvision":
        from torchvision.models import get_model

        usual = channels_of(_IMAGENET[0], "mean"), channels_of(_IMAGENET[1], "std")
        return lambda: _built(spec, lambda: get_model(name, **options)), usual
    if kind == "timm":
        if importlib.util.find_spec("timm") is None:
            raise MissingData(f"model {spec} needs timm: pip install timm")
        from timm import create_model

        return lambda: _built(spec, lambda: create_model(name, pretrained=False, **options)), None
    if not kind.endswith(".py"):
        raise UserError(f"model {spec!r} is not of a known form; give {_FORMS}")
    function = getattr(_imported(Path(kind)), name, None)
    if not callable(function):
        raise UserError(f"{kind} has no function {name!r}; define it: it returns the model")
    return lambda: _built(spec, lambda: function(*_wanted(function, classes))), None


def _wanted(function: Build, classes: int | None) -> tuple[int, ...]:
    """Returns the number of classes if a function needs an argument."""
    needed = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    return (classes,) if needed and classes is not None else ()


def _built(spec: str, build: Build) -> nn.Module:
    try:
        model = build()
    except Exception as error:  # foreign code can raise anything
        raise UserError(f"model {spec} cannot be built: {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model {spec} is a {type(model).__name__}; its function must return a torch.nn.Module")
    return model


def _imported(file: Path) -> Any:
    name = f"softcam_bench_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise UserError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # foreign code can raise anything
        raise UserError(f"{file} cannot be imported: {one_line(error)}") from error
    return module


def named_dataset(name: str | Path, root: Path) -> tuple[str, DatasetInfo]:
    """Returns a folder, or a registered data set, of which only the images that are explained are read.

    The name of a CSV file stands for its folder, with this table in the place of ``labels.csv``.
    Of a folder these are all images, unless its ``splits.csv`` or ``labels.csv`` names test images.

    Raises:
        UserError: there is no such data set, or its files are missing.
    """
    text = str(name)
    if isinstance(name, Path) or Path(text).is_dir():
        text = f"folder:{text}"
    if Path(text).suffix.lower() == ".csv":
        if not Path(text).is_file():
            raise MissingData(f"{text} not found; give a table with file, patient and one column per finding")
        info, table = findings_dataset(Path(text)), Path(text)
        found = info.name
    else:
        ((found, info),) = resolve_datasets([text], root)[0].items()
        info = read_as(text, info, Config().for_dataset(text).data)
        table = Path(info.name.removeprefix("folder:")) / (FINDING_TABLE if info.multilabel else "splits.csv")
    if info.name.startswith("folder:") and not _names_splits(table):
        build: Any = info.builder

        def whole(root: Path, split: str) -> _Joined:
            parts = [build(root, one) for one in SPLITS]
            return _Joined([FindingPairs(one) for one in parts] if split == FINDING_SPLIT else parts)

        info = replace(info, builder=whole)
    return found, replace(info, splits=("test",))


def _names_splits(table: Path) -> bool:
    if not table.is_file():
        return False
    with table.open(newline="", encoding="utf-8-sig") as file:
        return "split" in next(csv.reader(file), [])


class _Joined:
    """All splits of a folder as one sequence of samples."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.classes = parts[0].classes
        self.groups = {id_: group for part in parts for id_, group in part.groups.items()}
        self.files = [file for part in parts for file in part.files]
        self.excluded = [fault for part in parts for fault in part.excluded]
        self._places = [(part, index) for part in parts for index in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        part, place = self._places[index]
        sample: Sample = part[place]
        return sample
