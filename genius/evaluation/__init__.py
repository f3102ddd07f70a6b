"""How well is found what should be: M-BEIR's files in, recall out, and a benchmark set in those files."""
