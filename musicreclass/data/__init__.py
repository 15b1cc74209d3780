"""Tracks and their splits, leak checks, and the batches that a classifier reads.

`audio` reads one file, `sources` has a module for each dataset. Nothing here depends on a model.
"""
