"""Optimises a network: LightningModule, Trainer, optimizers, checkpoints, micro-batches, several processes.

Code that reads datasets, writes run folders or predicts with a trained network belongs elsewhere.
"""
