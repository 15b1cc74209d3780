"""What this machine has, and how much of it a run may use."""
