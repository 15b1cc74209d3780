"""Metrics, intervals and paired tests, computed from prediction tables alone.

Nothing here knows a model, a dataset or a run folder. Tables of runs are in `comparison`, figures in `report`.
"""
