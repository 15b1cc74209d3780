"""Many runs from one command: the records of a sweep, the search over settings, and a job's share of a machine.

What one job does is passed in; nothing here trains or prints.
"""
