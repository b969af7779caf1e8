"""The Preview tab: images generated with adapters at any weight."""
