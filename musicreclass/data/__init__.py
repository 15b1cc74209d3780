"""Where tracks come from: sources, splits, leak checks, and the tables and batches a classifier reads."""
