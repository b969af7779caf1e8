"""Switches the collector off while the process that servers are forked from loads its modules."""

import gc

gc.disable()
