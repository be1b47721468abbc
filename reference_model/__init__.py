"""What is counted: the MobileNetV2 reference, model specs, and the ledger of a run."""
