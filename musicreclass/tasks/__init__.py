"""What each command does, in stages that can be called from Python.

A task takes checked settings or run folders and returns results; it parses no arguments. Algorithms are in the packages below.
"""
