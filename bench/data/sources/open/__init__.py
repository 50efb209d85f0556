"""Real medical images with lesion truth from public repositories, which need no login."""
