"""Plain functions that several strategies share."""
