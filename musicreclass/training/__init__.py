"""The optimisation of a network: the LightningModule, optimizers, checkpoints, micro-batches, several processes.

Knows no run folder and no dataset; predictions are made without it.
"""
