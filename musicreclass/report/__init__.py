"""Reports on one run: figures, learning curves, progress, and the summary on the terminal.

Presents what other packages compute; no metric is computed here.
"""
