"""Parts that need no torch, so that a report starts fast: names under which results are stored, and drawing of maps."""
