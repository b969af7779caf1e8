"""Base models: what one is, and how another one comes in."""
