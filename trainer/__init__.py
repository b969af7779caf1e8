"""The trainer: from a folder of captioned images to a LoRA file.

Rooms, from the ground up: `config` and `runs` know no torch and are all that the app may import;
`models`, `adapters`, `diffusion`, `data`, `optim` and `export` do not import each other;
`loop` is the roof that joins them.
"""
