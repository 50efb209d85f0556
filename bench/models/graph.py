"""Rules on computation graphs: the end of the feature map, and the operations of the head.

They let a classifier be cut by its computation instead of by its class name.
"""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import fx, nn

_COLLAPSING_MODULES = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten)
_COLLAPSING_FUNCTIONS = {F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.flatten, torch.mean}
_COLLAPSING_METHODS = {"mean", "flatten"}
_HARMLESS = (torch.flatten, "flatten", "view", "reshape", "squeeze", F.dropout)
IDENTITY_IN_EVAL = (nn.Dropout, nn.Flatten, nn.Identity)


class HeadTracer(fx.Tracer):
    """Tracer that enters modules with the classifying layer or without weights (poolings); others remain one call.

    Args:
        classifying: the last linear layer of the traced model.
    """

    def __init__(self, classifying: nn.Module) -> None:
        super().__init__()
        self.classifying = classifying

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Returns True for a module that remains one call in the graph."""
        holds_classifying = m is not self.classifying and any(part is self.classifying for part in m.modules())
        if holds_classifying or next(m.parameters(), None) is None:
            return super().is_leaf_module(m, module_qualified_name)
        return True


def collapses(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    """Returns True if a node removes the spatial axes of its input, by pooling or flattening."""
    if node.op == "call_module":
        return isinstance(parts[str(node.target)], _COLLAPSING_MODULES)
    return node.target in (_COLLAPSING_FUNCTIONS if node.op == "call_function" else _COLLAPSING_METHODS)


def split(model: nn.Module, graph: fx.Graph, cut: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Splits a graph into two modules that share the model's weights: up to the value of ``cut``, and after it.

    Raises:
        ValueError: the second part reads more than the value of ``cut`` and the batch size.
    """
    before, after = fx.Graph(), fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "output" and cut not in copied:
            break
        copied[node] = before.node_copy(node, lambda old: copied[old])
        if node is cut:
            break
    before.output(copied[cut])
    moved = {cut: after.placeholder("features")}
    for node in list(graph.nodes)[list(graph.nodes).index(cut) + 1 :]:
        for outside in set(node.all_input_nodes) - set(moved):
            if not _is_batch_size(outside):
                raise ValueError(f"the head of {type(model).__name__} also reads {outside}, not only the feature map")
            moved[outside] = after.call_method("size", (moved[cut], 0))
        moved[node] = after.node_copy(node, lambda old: moved[old])
    return fx.GraphModule(model, before), fx.GraphModule(model, after)


def _is_batch_size(node: fx.Node) -> bool:
    source = node.args[0] if node.args else None
    of_input = isinstance(source, fx.Node) and source.op == "placeholder"
    return of_input and node.target == "size" and node.args[1:] == (0,)


def why_not_linear(cut: fx.Node, graph: fx.Graph, parts: dict[str, nn.Module]) -> str:
    """Returns "" if the graph from ``cut`` on is global *average* pooling, dropout and one linear layer.

    Otherwise it returns the reason, as the end of a sentence about the head.
    """
    nodes = list(graph.nodes)
    linears = 0
    if not _averages_globally(cut, parts):
        return f"its feature map is not averaged over space (it goes into {_describe(cut, parts)})"
    for node in nodes[nodes.index(cut) + 1 : -1]:
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(part, nn.Linear):
            linears += 1
        elif not (isinstance(part, IDENTITY_IN_EVAL) or node.target in _HARMLESS or _is_shape(node)):
            return f"there is {_describe(node, parts)} between the pooling and the logits"
    return "" if linears == 1 else f"it has {linears} linear layers after the pooling"


def _is_shape(node: object) -> bool:
    """Returns True if a node is a size or an element of one, as in ``x.view(x.size(0), -1)``."""
    if not isinstance(node, fx.Node):
        return False
    if node.target is operator.getitem:
        return _is_shape(node.args[0])
    return node.target == "size" or (node.target is getattr and node.args[1:] == ("shape",))


def _averages_globally(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        part = parts[str(node.target)]
        return isinstance(part, nn.AdaptiveAvgPool2d) and bool(part.output_size in (1, (1, 1)))
    options = [*node.args[1:2], *(node.kwargs[key] for key in ("output_size", "dim") if key in node.kwargs)]
    if node.target is F.adaptive_avg_pool2d:
        return any(options[0] == size for size in (1, (1, 1), [1, 1]))
    if node.target not in ("mean", torch.mean) or not options or not isinstance(options[0], tuple | list):
        return False
    return {axis % 4 for axis in options[0] if isinstance(axis, int)} == {2, 3}


def _describe(node: fx.Node, parts: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{type(parts[str(node.target)]).__name__} '{node.target}'"
    return f"{getattr(node.target, '__name__', node.target)}()"
