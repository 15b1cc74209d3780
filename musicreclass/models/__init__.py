"""Plain `nn.Module` networks and pretrained encoders, independent of data and training. `weights` reads foreign weight files."""
