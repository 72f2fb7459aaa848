"""Grids of our own beside Flower's: in this process, and over sticky Ray actors."""
