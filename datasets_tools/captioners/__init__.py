"""Captioners: models that describe an image; only what they load when used needs torch.

`table.CAPTIONERS` lists them. A new one is one file and one row.
"""
