"""What a person sees of one run: figures, learning curves, the summary on the terminal.

Draws what the other packages computed; computes no metric.
"""
