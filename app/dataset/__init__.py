"""The Dataset tab: images and their captions."""
