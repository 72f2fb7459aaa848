"""The only place that imports flwr: one ServerApp, one ClientApp, and Grids of our own beside Flower's."""
