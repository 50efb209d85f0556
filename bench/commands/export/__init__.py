"""``export``: a trained classifier on its own, with model card and ONNX file."""
