"""Published data sets and the user's own folders, one file per source."""
