"""The main job as a scene: three apps on one board while an operator moves their budgets."""
