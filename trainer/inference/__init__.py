"""Images generated with adapters: samples, grids, and the preview worker."""
