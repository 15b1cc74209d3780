"""Computes feature tables from recordings: the 518 FMA features, and embeddings of pretrained encoders.

Features are computed once and kept in the store. Nothing is fitted here: whatever depends on the training split belongs in
`classifiers`.
"""
