"""A search result as plain JSON: one shape for the command line, the web page and scripts."""

from __future__ import annotations

from typing import Any

from genius.schema import Hit, Modality, SearchResult

_MODALITY_WORDS = {Modality.IMAGE: "image", Modality.TEXT: "text", Modality.PAIR: "pair"}


def result_to_json(result: SearchResult) -> dict[str, Any]:
    """`{"query": …, "hits": […], "timings_ms": {…}}`, holding only what `json.dumps` can write.

    The query's picture is not repeated: `query["image"]` says whether there was one.
    """
    query, timings = result.query, result.timings
    return {
        "query": {
            "text": query.text,
            "image": query.image is not None,
            "instruction": query.instruction,
            "minus": query.minus,
        },
        "hits": [_hit(hit) for hit in result.hits],
        "timings_ms": {
            "encode": round(timings.encode, 2),
            "fuse": round(timings.fuse, 2),
            "decode": round(timings.decode, 2),
            "rerank": round(timings.rerank, 2),
            "total": round(timings.total, 2),
        },
    }


def _hit(hit: Hit) -> dict[str, Any]:
    candidate = hit.candidate
    return {
        "rank": hit.rank,
        "id": candidate.id,
        "modality": _MODALITY_WORDS[candidate.modality],
        "text": candidate.text,
        "image": None if candidate.image is None else str(candidate.image),
        "semantic_id": [int(code) for code in hit.semantic_id],
        "log_prob": None if hit.log_prob is None else round(float(hit.log_prob), 6),
        "score": round(float(hit.score), 6),
    }
