"""`schedctl top`: a live view of the daemon on a terminal, with keys to move budgets."""
