"""The version of this package, importable without anything else."""

__version__ = "0.2.0"
