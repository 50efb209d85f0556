"""``speed``: times passes, explanations, occlusion and training against bare passes and other libraries."""
