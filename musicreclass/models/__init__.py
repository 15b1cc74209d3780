"""Plain `nn.Module` networks and pretrained encoders; `weights` reads weight files of other projects.

Losses, optimizers and data loading belong in `training` and `data`. A network only maps a batch to logits or vectors.
"""
