"""Pretrained weights in the file formats of their publishers. Reading a file executes nothing that it holds."""
