"""Reproducing the experiments of conf/experiment, and the record of what came out."""
