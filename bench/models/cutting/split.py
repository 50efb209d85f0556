"""Two modules made of one computation graph, which share the weights of the network."""

from __future__ import annotations

import operator

from torch import fx

from bench.models.cutting.graph import Traced, depends_on, is_shape, output_of, way_out


def split(traced: Traced, cut: fx.Node, channels_last: bool = False) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Splits a graph into two modules that share the model's weights: up to the value of ``cut``, and after it.

    Args:
        traced: the network.
        cut: its feature map.
        channels_last: the map is (N,h,w,D); it is turned to (N,D,h,w) and back.

    Raises:
        ValueError: the second part reads more than the value of ``cut`` and the batch size.
    """
    before, after = fx.Graph(), fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.nodes:
        copied[node] = before.node_copy(node, lambda old: copied[old])
        if node is cut:
            break
    found = copied[cut]
    before.output(before.call_method("permute", (found, 0, 3, 1, 2)) if channels_last else found)
    features = after.placeholder("features")
    moved = {cut: after.call_method("permute", (features, 0, 2, 3, 1)) if channels_last else features}
    needed, nodes = depends_on(output_of(traced.graph), without=cut), list(traced.graph.nodes)
    for node in nodes[nodes.index(cut) + 1 :]:
        outside = [one for one in node.all_input_nodes if one not in moved]
        if node not in needed and len(outside) == len(node.all_input_nodes):
            continue  # an assertion on the images, or a value that nothing reads
        for one in outside:
            moved[one] = _moved(one, after, moved[cut], type(traced.model).__name__)
        moved[node] = after.node_copy(node, lambda old: moved[old])
    return fx.GraphModule(traced.model, before), fx.GraphModule(traced.model, after)


def _moved(node: fx.Node, after: fx.Graph, features: fx.Node, name: str) -> fx.Node:
    """Returns the node of the second part that has the value of one before the cut: a weight, or the batch size."""
    if node.op == "get_attr":
        return after.node_copy(node)
    if not _is_batch_size(node):
        raise ValueError(f"the head of {name} also reads {node}, not only the feature map; {way_out(name)}")
    return after.call_method("size", (features, 0))


def _is_batch_size(node: fx.Node) -> bool:
    source = node.args[0] if node.args else None
    if node.target is operator.getitem:
        return is_shape(source) and node.args[1:] == (0,)
    return node.target == "size" and node.args[1:] == (0,) and isinstance(source, fx.Node)
