"""What `wardround sites check` does."""
