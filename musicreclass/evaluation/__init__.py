"""Metrics, intervals and paired tests, computed from prediction tables alone.

Nothing here depends on models, datasets or run folders. Tables of runs are in `comparison`, figures in `report`.
"""
