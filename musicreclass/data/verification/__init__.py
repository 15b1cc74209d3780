"""Verification of recordings: whether every file is intact, and which are copies of others."""
