"""The report of a run: figures, words, and the self-contained page that holds them."""
