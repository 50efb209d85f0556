"""Tables and figures of grids: penalty, resolution, pooling, domain."""
