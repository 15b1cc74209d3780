"""Comparison tables on the terminal, as CSV or Markdown, and as an HTML page. No number is computed here."""
