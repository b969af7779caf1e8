"""How the starter model is made: from npm packages of emoji to a folder that diffusers loads.

One module per subject; `build.py` beside this folder is the command line. `settings` holds every
number, `stages` runs a stage once per content of its inputs, `sources` lists which code and data a
stage depends on.
"""
