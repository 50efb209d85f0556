"""Phantoms: drawn images with exact lesion masks and counterfactuals, to test explanation methods against the truth.

Importing this package registers them as data sets.
"""

from bench.data.phantoms import cxr, findings, fundus, oct

__all__ = ["cxr", "findings", "fundus", "oct"]
