"""File formats that several rooms speak: the safetensors header, and the names of UNet modules.

A leaf: no torch, and no other room of the trainer.
"""
