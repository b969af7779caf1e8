"""The tabs: widgets, and their wiring to `views` and `actions`."""
