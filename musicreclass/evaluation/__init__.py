"""Metrics, intervals and paired tests, computed from prediction tables alone. Independent of models and datasets."""
