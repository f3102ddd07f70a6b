"""What the codes of an index mean: names, typical candidates, maps, and how they go with known labels."""
