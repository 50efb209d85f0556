"""Backbones, their separation into feature extractor and head, and features shared by the explainers of a batch."""
