"""Schedules and policies that come with the project, as YAML."""
