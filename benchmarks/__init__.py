"""Suites, schedules and policies that come with the project, as YAML."""
