"""Many runs from one command: the records of a sweep, the search over settings, and what a job may use of a shared machine.

What one job does is passed in; nothing here trains.
"""
