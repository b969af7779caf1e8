"""The trainer: from a folder of captioned images to a LoRA file.

Packages, from the lowest layer up: `config` and `runs` know no torch and are all that the app may
import; `models`, `adapters`, `diffusion`, `data`, `optim` and `export` do not import each other;
`training` is the top level that joins them.
"""

import datasets_tools  # noqa: F401 - which keeps libraries from calling home
