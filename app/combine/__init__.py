"""The part of the Library where files are merged, resized, scaled, extracted and baked."""
