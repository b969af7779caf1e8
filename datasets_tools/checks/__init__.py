"""The dataset check: a table of checks, each a row with a sentence and a remedy.

An *error* keeps the dataset from being trained; a *warning* means that results will be poorer; a
*note* may be intended. `report` runs the table, `scan` looks at the images, `remedies` repairs.
"""
