"""Explainers of an evaluation: registered names, objects, and plain functions of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.config import Config
from bench.contracts import Classifier, Explainer
from bench.errors import UserError
from bench.registry import EXPLAINERS, resolve_names
from bench.run.plan import construct

#: A function of the user: (classifier, images (N,3,H,W), targets (N,)) -> maps (N,h,w).
MapFunction = Callable[[Classifier, Tensor, Tensor], Any]


@dataclass(eq=False)
class FunctionExplainer(Explainer):
    """A function as an explainer; it may return an array, and maps with a channel axis of 1.

    Attributes:
        function: the function.
    """

    paper: ClassVar[str] = ""
    function: MapFunction

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w) of images (N,3,H,W) for targets (N,)."""
        maps = self.function(classifier, images, targets)
        maps = maps if isinstance(maps, Tensor) else torch.as_tensor(maps)
        return maps[:, 0] if maps.ndim == 4 and maps.shape[1] == 1 else maps


def from_function(function: MapFunction) -> Explainer:
    """Returns a function as an explainer.

    Its name is that of the function; the attributes ``signed`` (maps have a sign; False without it) and ``grid``
    ("features" for maps on the cells of the feature map, "pixels" without it) of the function are its facts.
    """
    name = getattr(function, "__name__", type(function).__name__).strip("<>")
    facts: dict[str, Any] = {"name": name, "family": "post-hoc", "signed": bool(getattr(function, "signed", False))}
    facts["grid"] = getattr(function, "grid", "pixels")
    kind = type(f"Function_{name}", (FunctionExplainer,), facts)
    made: Explainer = kind(function)
    return made


def chosen_explainers(asked: Sequence[Any], config: Config) -> dict[str, tuple[Explainer, dict[str, Any]]]:
    """Returns name -> explainer and its parameters, in the order in which they are asked for; then floor and ceilings.

    Args:
        asked: registered names (with parameters, ``all``), explainers, classes of them, or functions.
        config: parameters by name.

    Raises:
        UserError: unknown name, two explainers of one name, or something that is no explainer.
    """
    asked = [asked] if isinstance(asked, str) or callable(asked) or isinstance(asked, Explainer) else list(asked)
    if asked and all(isinstance(one, str) for one in asked):
        asked = resolve_names(asked, EXPLAINERS)
    found: dict[str, tuple[Explainer, dict[str, Any]]] = {}
    for one in asked:
        for name, explainer, parameters in _found(one, config):
            if name in found and not isinstance(one, str):
                raise UserError(f"two explainers are called {name!r}; rename one")
            found[name] = explainer, parameters
    if not found:
        raise UserError("no explainer is named; give at least one, such as 'gradcam'")
    for name in [name for name in EXPLAINERS if EXPLAINERS[name].role and name not in found]:
        found[name] = construct(EXPLAINERS, name, config.explainers)
    return found


def _found(one: Any, config: Config) -> list[tuple[str, Explainer, dict[str, Any]]]:
    if isinstance(one, str):
        names = resolve_names([one], EXPLAINERS)
        return [(name, *construct(EXPLAINERS, name, config.explainers)) for name in names]
    if isinstance(one, type) and issubclass(one, Explainer):
        one = one()
    if isinstance(one, Explainer):
        known = {key: value for key, value in vars(one).items() if isinstance(value, str | int | float | bool | None)}
        return [(one.name, one, known)]
    if callable(one):
        made = from_function(one)
        return [(made.name, made, {})]
    raise UserError(
        f"a {type(one).__name__} is not an explainer; give a name, an Explainer, or a function "
        "(model, images, targets) -> maps"
    )
