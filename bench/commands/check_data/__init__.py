"""The command ``check-data``: lists the faults of a data set before a training meets them."""
