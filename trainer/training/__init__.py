"""A training run: its data, its adapters, its loop, its checkpoints and what it writes."""
