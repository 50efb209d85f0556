"""Phantoms: drawn images with exact lesion masks and counterfactuals, to test explanation methods against the truth.

Importing this package registers them as data sets.
"""

from bench.data.phantoms import cxr, fundus, oct

__all__ = ["cxr", "fundus", "oct"]
