"""Pieces of HTML made from views, escaped by `markup`."""
