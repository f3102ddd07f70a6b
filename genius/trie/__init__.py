"""Which semantic IDs exist: the codes of all candidates as one sorted matrix, in RAM or on disk.

packing.py   IDs in as few bytes as they need
trie.py      the matrix, and what it answers
files.py     the same on disk
"""

from genius.trie.files import FILE
from genius.trie.trie import Children, CodeTrie

__all__ = ["FILE", "Children", "CodeTrie"]
