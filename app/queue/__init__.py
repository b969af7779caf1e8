"""The queue: which runs are trained next, on which device, and when."""
