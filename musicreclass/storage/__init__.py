"""Bytes on disk: atomic writes, locks, and the store of results that are computed once. Knows nothing about music."""
