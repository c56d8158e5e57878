"""What executes a variant: onnxruntime (default) and torch."""
