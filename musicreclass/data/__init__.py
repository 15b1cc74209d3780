"""Tracks, their splits, leak checks, and the batches that classifiers read.

`audio` decodes single files, `sources` has one module per dataset. Nothing here depends on a model.
"""
