"""How fast, how large, how exact: measured, never asserted. Each file measures one thing.

    decode.py   writing IDs, beside transformers' `generate` on the same weights, queries and trie
    scale.py    the same as the collection grows to ten million and more, beside Faiss
    search.py   a whole search with a real model, stage by stage
    race.py     GENIUS beside exact and approximate vector search, recall beside every time

The page runs a race, too. It takes place on a course.py (queries, candidates, padding.py for more of them),
one heat.py a size, against rivals.py, in slices of pace.py. record.py is what it measures, summary.py what
that comes to.
`made_up.py` makes decoders and IDs to measure with, `generate.py` is transformers' search, `machine.py` says
where and with what something was measured.
"""
