"""Run folders: their files, their identity, and where they come from.

Everything about a run is in its folder. Knows no task; does not train or score.
"""
