"""Names and codes under which results are stored: parts of a cell, occlusion operators and rules that rank patches.

They are here, without torch, because the report reads them and needs no network.
"""

from __future__ import annotations

#: Label of an explained image without any finding, in data sets with several labels per image.
NO_FINDING = -1
#: Parts of a cell, as their folders are called.
OWN_CLASS, EVERY_CLASS = "own_class", "every_class"
#: Occlusion operators, which replace the pixels of patches.
FILLS = ("zero", "black", "blur", "noise", "donor")
#: Operators whose pixels do not depend on the other occluded patches; they can fill a whole image.
FIXED = tuple(name for name in FILLS if name != "noise")
#: Rules that turn the pixels of a patch into its score; the first is the default. See ``bench.metrics.patch_scores``.
RULES = ("mean", "max", "point", "sum")
#: Rules by which patches can be ranked: "resize" is the authors' code, which exists for top-k only.
READINGS = (*RULES, "resize")
#: Variants of metrics that rank patches by another rule than the default.
RULED = READINGS[1:]


def fill_and_rule(variant: str) -> tuple[str, str]:
    """Returns the occlusion operator and the rule of the order that a variant of a metric names.

    A variant is an operator, with patches in the default order, or a rule, with the default operator: varied one at a
    time, their effects on a ranking can be told apart.

    Example:
        >>> fill_and_rule("blur"), fill_and_rule("max")
        (('blur', 'mean'), ('zero', 'max'))
    """
    return (FILLS[0], variant) if variant in RULES else (variant, RULES[0])
