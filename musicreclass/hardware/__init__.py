"""The machine: what it has, what a run may use of it, its sensors, and processes launched together. Knows no model or data."""
