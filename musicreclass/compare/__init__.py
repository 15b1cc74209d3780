"""Tables of many runs: read, grouped into rows, tested against each other; `render` shows them.

Reads run folders only. The statistics are in `evaluation`.
"""
