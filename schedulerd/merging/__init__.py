"""Several blocks of a settled route as one onnxruntime session: composed, tried and timed in a process of its own."""
