"""File formats that several packages use: the safetensors header, and the names of UNet modules.

A leaf: no torch, and no other package of the trainer.
"""
