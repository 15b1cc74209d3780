"""Augmentation of training batches on the device; random values depend on a key per sample.

Validation and test are never augmented. The decision when to augment is in `training`; drawing crops belongs in `data`.
"""
