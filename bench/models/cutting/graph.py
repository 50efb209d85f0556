"""Computation graph of a classifier, and its last feature map in it.

A network is cut at the last map through which every path from the images to the logits leads. Means over space that
come earlier (attention, squeeze-and-excitation, standardisation of the images) are therefore not taken for its pooling.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bench.models.cutting.trial import undisturbed

Shape = tuple[int, ...]
_POOLINGS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_POOLING_FUNCTIONS = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)


class HeadTracer(fx.Tracer):
    """Tracer that enters the given modules and containers without a class of their own; others remain one call.

    Args:
        opened: modules that are entered.
    """

    def __init__(self, opened: Collection[nn.Module]) -> None:
        super().__init__()
        self.opened = {id(part) for part in opened}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Returns True for a module that remains one call in the graph."""
        return id(m) not in self.opened


def ancestors(model: nn.Module, inner: nn.Module) -> list[nn.Module]:
    """Returns the modules of ``model`` that hold ``inner``."""
    return [part for part in model.modules() if part is not inner and any(one is inner for one in part.modules())]


@dataclass
class Traced:
    """The graph of a network with the shape of every value; modules in the head are entered as far as possible.

    Attributes:
        model: the network.
        graph: its computation graph in eval mode.
        shapes: shapes of the tensors in it, for a batch of one.
        parts: modules by name.
        cut: the node of the last feature map; None if there is none.
    """

    model: nn.Module
    graph: fx.Graph
    shapes: dict[fx.Node, Shape]
    parts: dict[str, nn.Module]
    cut: fx.Node | None

    @property
    def head(self) -> list[fx.Node]:
        """Nodes between the feature map (the images if there is none) and the logits that the logits depend on."""
        start = self.cut or next(iter(self.graph.nodes))
        nodes = list(self.graph.nodes)
        needed = depends_on(output_of(self.graph), without=start)
        return [node for node in nodes[nodes.index(start) + 1 : -1] if node in needed]

    @property
    def backbone(self) -> list[nn.Module]:
        """Modules that are called up to the feature map."""
        nodes = list(self.graph.nodes)
        before = nodes[: nodes.index(self.cut) + 1] if self.cut else []
        return [part for part in map(self.part, before) if part is not None]

    def part(self, node: fx.Node) -> nn.Module | None:
        """Returns the module that a node calls, if it calls one."""
        return self.parts.get(str(node.target)) if node.op == "call_module" else None

    def reads(self, node: fx.Node) -> Shape:
        """Returns the shape of the input of a node with the most cells; () if it reads no tensor."""
        read = [self.shapes[one] for one in node.all_input_nodes if one in self.shapes]
        return max(read, key=cells, default=())

    def describe(self, node: fx.Node) -> str:
        """Names the operation of a node."""
        part = self.part(node)
        if part is not None:
            return f"{type(part).__name__} {str(node.target).removeprefix('model.')!r}"
        stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack", {})
        owner, kind = [("", None), *stack.values()][-1]
        where = f" in {kind.__name__} {owner.removeprefix('model.')!r}" if owner and isinstance(kind, type) else ""
        return f"{getattr(node.target, '__name__', node.target)}(){where}"


def cells(shape: Shape) -> int:
    """Returns the number of places of a map (N,D,h,w) or of tokens (N,L,D); 1 for anything else."""
    if len(shape) == 4:
        return 1 if shape[1] == 1 in shape[2:] else shape[2] * shape[3]  # (N,1,1,D) is one vector, channels last
    return min(shape[1:]) if len(shape) == 3 else 1


def trace_head(model: nn.Module, image: Tensor, name: str) -> Traced:
    """Traces ``model`` and enters the modules behind its last feature map, which may hide a later one.

    Raises:
        ValueError: the forward pass, or that of a module with weights behind the map, cannot be traced.
    """
    opened, closed = [model], list[nn.Module]()
    traced = trace(model, image, opened, name)
    while (part := _to_enter(traced, closed)) is not None:
        try:
            traced = trace(model, image, [*opened, part], name)
            opened.append(part)
        except ValueError as error:
            if any(weight.ndim > 1 for weight in part.parameters()):
                raise ValueError(f"{error} (in {type(part).__name__}); {way_out(name)}") from error
            closed.append(part)
    return traced


def way_out(name: str) -> str:
    """Returns the advice for a network that cannot be cut."""
    return f"give the cut yourself: bench.Classifier(features, head, num_classes) of the parts of {name}"


def trace(model: nn.Module, image: Tensor, opened: Collection[nn.Module], name: str) -> Traced:
    """Traces ``model``, entering the modules in ``opened``, and notes the shape of every value for ``image``.

    Raises:
        ValueError: the forward pass cannot be traced.
    """
    try:
        with undisturbed(model):  # a trace keeps the branches it took; dropout must not be among them
            graph = HeadTracer(opened).trace(model)
            recorder = _Recorder(fx.GraphModule(model, graph))
            recorder.run(image)
    except Exception as error:  # a foreign forward() may raise any error on a proxy
        reason = " ".join(str(error).split())
        raise ValueError(f"the forward pass of {name} cannot be traced: {reason}") from error
    by_name = {node.name: node for node in graph.nodes}
    shapes = {by_name[one]: shape for one, shape in recorder.shapes.items()}
    parts = dict(model.named_modules(remove_duplicate=False))
    return Traced(model, graph, shapes, parts, _last_map(graph, shapes, parts))


class _Recorder(fx.Interpreter):
    """Interpreter that notes the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[str, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node and notes the shape of its result."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


def _to_enter(traced: Traced, closed: list[nn.Module]) -> nn.Module | None:
    """Returns a module of the head that is no single layer of PyTorch: it may hold a later map or the classifier."""
    for node in traced.head:
        part = traced.part(node)
        if part is None or any(part is one for one in closed):
            continue
        if not is_layer(part) and not isinstance(part, nn.Linear | nn.Conv2d) and not _stays_closed(traced, node, part):
            return part
    return None


def _stays_closed(traced: Traced, node: fx.Node, part: nn.Module) -> bool:
    """Returns True for a module without children that maps a vector, or that pools a map by numbers (GeM)."""
    if next(part.children(), None) is not None:
        return False
    if cells(traced.reads(node)) == 1:
        return True
    own = list(part.parameters(recurse=False))
    return bool(own) and all(one.numel() == 1 for one in own) and cells(traced.shapes.get(node, ())) == 1


def is_layer(part: nn.Module) -> bool:
    """Returns True for a module of PyTorch itself, other than a ``Sequential``."""
    return type(part).__module__.startswith("torch.nn") and not isinstance(part, nn.Sequential)


def _last_map(graph: fx.Graph, shapes: dict[fx.Node, Shape], parts: dict[str, nn.Module]) -> fx.Node | None:
    """Returns the last map (N,D,h,w) of several cells through which all paths lead, before a pooling to several cells.

    A pooling to a fixed number of cells (VGG, AlexNet) belongs to the head that flattens it.
    """
    output = output_of(graph)
    for node in reversed(graph.nodes):
        is_map = len(shapes.get(node, ())) == 4 and cells(shapes[node]) > 1 and node.op != "placeholder"
        if node.op in ("placeholder", "output", "get_attr") or not is_map or _has_way_around(output, node):
            continue
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        while isinstance(part, _POOLINGS) or node.target in _POOLING_FUNCTIONS:
            node = node.all_input_nodes[0]
            part = parts.get(str(node.target)) if node.op == "call_module" else None
        return None if node.op == "placeholder" else node
    return None


def output_of(graph: fx.Graph) -> fx.Node:
    """Returns the last node of a graph."""
    last: fx.Node = next(iter(reversed(graph.nodes)))
    return last


def depends_on(node: fx.Node, without: fx.Node) -> set[fx.Node]:
    """Returns all nodes that ``node`` is computed from, without those that come before ``without``."""
    found, ahead = {node}, [node]
    while ahead:
        for one in ahead.pop().all_input_nodes:
            if one not in found and one is not without:
                found.add(one)
                ahead.append(one)
    return found


def _has_way_around(output: fx.Node, cut: fx.Node) -> bool:
    """Returns True if the output depends on the images other than through ``cut`` and through their number."""
    found, ahead = {output}, [output]
    while ahead:
        node = ahead.pop()
        if node.op == "placeholder":
            return True
        if is_shape(node):
            continue
        new = [one for one in node.all_input_nodes if one is not cut and one not in found]
        found.update(new)
        ahead += new
    return cut not in depends_on(output, without=output)


def is_shape(node: object) -> bool:
    """Returns True if a node is a size or an element of one, as in ``x.view(x.size(0), -1)``."""
    if not isinstance(node, fx.Node):
        return False
    if node.target is operator.getitem:
        return is_shape(node.args[0])
    return node.target == "size" or (node.target is getattr and node.args[1:] == ("shape",))


def dropped_weights(traced: Traced) -> list[fx.Node]:
    """Returns the nodes of the head that turn a map into a map by weights, which belong to the backbone.

    A convolution that covers the whole map is a fully connected layer of the head.
    """
    return [node for node in traced.head if _has_weights(traced, node) and _maps(traced, node)]


def _has_weights(traced: Traced, node: fx.Node) -> bool:
    part = traced.part(node)
    if part is not None:
        return next(part.parameters(), None) is not None
    read = [one for one in node.all_input_nodes if one.op == "get_attr" and len(traced.shapes.get(one, ())) > 1]
    return node.op != "get_attr" and bool(read)


def _maps(traced: Traced, node: fx.Node) -> bool:
    read, part = traced.reads(node), traced.part(node)
    if cells(read) == 1:
        return False
    if isinstance(part, nn.Conv2d) and len(read) == 4:
        covers = part.kernel_size[0] >= read[2] and part.kernel_size[1] >= read[3]
        return not covers or cells(traced.shapes[node]) > 1
    return cells(traced.shapes.get(node, ())) > 1


def is_mean_over_space(traced: Traced, node: fx.Node) -> bool:
    """Returns True if a node is recognised as global average pooling; used for messages only."""
    part = traced.part(node)
    if part is not None:
        return isinstance(part, nn.AdaptiveAvgPool2d) and bool(part.output_size in (1, (1, 1)))
    options = [*node.args[1:2], *(node.kwargs[key] for key in ("output_size", "dim") if key in node.kwargs)]
    if node.target is F.adaptive_avg_pool2d:
        return any(options[0] == size for size in (1, (1, 1), [1, 1]))
    if node.target not in ("mean", torch.mean) or not options or not isinstance(options[0], tuple | list):
        return False
    return {axis % 4 for axis in options[0] if isinstance(axis, int)} == {2, 3}
