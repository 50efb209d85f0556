"""Command ``export``: writes a trained classifier with model card and ONNX file, for use outside of a run."""
