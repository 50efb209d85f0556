"""``check-data``: reads a data set before a training does, and lists its faults."""
