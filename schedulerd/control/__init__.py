"""The control loop: monitor -> snapshot -> optimizer -> plan -> switcher."""
