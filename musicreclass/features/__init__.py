"""From audio to feature tables."""
