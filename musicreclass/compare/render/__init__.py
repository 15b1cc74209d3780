"""Comparison tables on the terminal, as text, and as an HTML page. Nothing here computes a number."""
