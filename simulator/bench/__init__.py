"""The bench: strategies compared over schedules, site orders and seeds."""
