"""SoftCAM: classifiers whose prediction is the spatial average of class evidence, which therefore explains it.

The package can be used without the benchmark; importing it registers its heads and its explainer.
"""

from softcam import explainer, heads
from softcam.conversion import convert
from softcam.evidence import EvidenceHead, SoftCAM
from softcam.penalty import ElasticNet
from softcam.pooling import POOLINGS

__all__ = ["POOLINGS", "ElasticNet", "EvidenceHead", "SoftCAM", "convert", "explainer", "heads"]
