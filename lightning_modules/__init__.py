"""One LightningModule a stage: how a batch becomes a loss. What may change a number lives here, not in callbacks."""
