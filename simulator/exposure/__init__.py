"""Measured exposure: what an attacker who holds what a site released can tell of its patients."""
