"""Every setting: its type, range, choices and help line. The YAML files of conf/ hold the defaults.

A section with a `_target_` creates a class of this package, of a library or of the user. Keys of a library that are not declared
here are checked against the type of the default in YAML. The keys of a user's class are checked against its signature only.
"""
