"""SoftCAM: classifiers whose prediction is the spatial average of class evidence, so that the evidence explains it."""

from softcam import explainer, heads
from softcam.conversion import convert
from softcam.evidence import EvidenceHead, SoftCAM
from softcam.penalty import ElasticNet

__all__ = ["ElasticNet", "EvidenceHead", "SoftCAM", "convert", "explainer", "heads"]
