"""Run folders: their files, their identity, and how they were made.

Everything about a run is in its folder. Does not train or score, and does not depend on tasks.
"""
