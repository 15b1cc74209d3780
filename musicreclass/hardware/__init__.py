"""The machine: what it has, what a run may use of it, what it is doing. Knows no model and no data."""
