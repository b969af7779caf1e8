"""Programs that say what is in an image; only what they load inside needs torch.

`table.CAPTIONERS` lists them. A new one is one file and one row.
"""
