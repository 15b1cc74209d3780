"""Labels recordings with finished runs: from files to genres with a confidence, or `unknown`.

Layers, each usable alone: a `Classifier` labels arrays, a `FileClassifier` recordings, and the predict task folders.
"""
