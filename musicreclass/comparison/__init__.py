"""Comparison tables of finished runs: read runs, group seeds and folds into rows, test rows pair by pair, render the result.

Reads run folders only; the statistics are in `evaluation`.
"""
