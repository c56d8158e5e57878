"""What a network is for: tasks turn the output of a route into its accuracy. `base.py` says what a task is."""
