"""A module for each dataset: where its files are, and what it says about each track."""
