"""One module per dataset: where its files are, and what is known about each track."""
