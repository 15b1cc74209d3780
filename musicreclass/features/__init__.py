"""From recordings to feature tables: the 518 FMA features, and the embeddings of pretrained encoders.

Features are computed once and kept in the store. Fits nothing: what depends on the training split is in `classifiers`.
"""
