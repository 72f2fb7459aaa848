"""A wardround strategy from outside the repository."""
