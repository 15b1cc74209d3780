"""Music genre classification experiments whose numbers can be believed."""

from musicreclass.version import __version__

__all__ = ["__version__"]
