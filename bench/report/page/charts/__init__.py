"""Interactive charts of the page, as Vega-Lite specifications and their data."""
