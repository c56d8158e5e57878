"""Small local model definitions, so that nothing depends on a model hub."""
