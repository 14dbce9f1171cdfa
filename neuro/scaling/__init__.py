"""How the loss of a model falls with its size, its data and its compute: runs -> law -> extrapolation."""
