"""Phantoms: drawn images with exact lesion truth and healthy twins. Importing this package registers them."""

from bench.data.phantoms import cxr, fundus, oct

__all__ = ["cxr", "fundus", "oct"]
