"""Measures of what a run has learned: style, structure, damage, copies, losses; a suggestion."""
