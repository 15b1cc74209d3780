"""Augmentation of training batches on the device. Random values depend on a key per sample. Never applied to validation or test."""
