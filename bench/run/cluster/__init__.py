"""The engine: workers on this machine, on a cluster or behind an address, by Dask.distributed."""
