"""From predictions to numbers, figures and tables."""
