"""Reproduce the experiments of conf/experiment, record their results, and write the tables of the documentation."""
