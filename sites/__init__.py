"""The hospital: what it holds, and the one door out of it."""
