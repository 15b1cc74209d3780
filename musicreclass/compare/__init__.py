"""One table of many runs: collected, grouped, held against each other, shown."""
