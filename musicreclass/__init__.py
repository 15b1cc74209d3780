"""Music genre classification experiments whose numbers can be believed."""

__version__ = "0.1.0"
