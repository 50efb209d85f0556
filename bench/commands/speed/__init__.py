"""Command ``speed``: times passes, explanations, occlusion and training, next to bare passes and other libraries."""
