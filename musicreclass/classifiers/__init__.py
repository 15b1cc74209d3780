"""Everything that learns, behind one contract that ends in a table of class probabilities."""
