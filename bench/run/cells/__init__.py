"""Work on one cell: training, parts, shares and studies."""
