"""What the panels of `helpers.controls` are made of."""
