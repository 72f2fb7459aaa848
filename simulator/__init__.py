"""The harness: schedules, the loop, Flower, scores, the run folder, and the command line."""
