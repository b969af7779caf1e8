"""The commands of the command line, by subject.

Each module has `add_commands`, and one function per command. The trainer is imported inside those
functions that need it.
"""
