"""The offline stage: a trained network becomes a store of interchangeable block variants."""
