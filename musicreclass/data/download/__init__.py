"""Gets published datasets: downloads their archives, verifies and unpacks them."""
