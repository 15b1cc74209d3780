"""Readers of pretrained weights in their publishers' file formats. Reading a file never executes code from it."""
