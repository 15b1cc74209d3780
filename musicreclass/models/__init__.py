"""Plain `nn.Module` networks, and the one LightningModule that trains them."""
