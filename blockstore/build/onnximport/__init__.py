"""ONNX files as fx graphs of the torch form's operators; `importer` is the way in."""
