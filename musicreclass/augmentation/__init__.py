"""Augmentation of training batches on the device, drawn from a key for each sample. Applied to the training split only."""
