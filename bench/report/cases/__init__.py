"""Case browser of the page: its data, one case per explained image."""
