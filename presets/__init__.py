"""Presets: partial configs, named by family, purpose and memory. Data, no code."""
