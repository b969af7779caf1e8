"""What each word of the command line does, by subject.

Each module has `add_words`, which says what can be typed, and one function per word. The trainer is
imported inside those functions that need it.
"""
