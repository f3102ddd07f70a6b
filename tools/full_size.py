"""How big and how fast the published network is on this machine: random weights, full size.

    python tools/full_size.py runs/full-size [--candidates 20000] [--queries 20] [--device cpu]

Makes a bundle of ViT-L/14, 3 + 8 × 4,096 codes and T5-small once (1.5 GB), then opens it in a process of its
own and searches: peak memory, load time, and the median of single searches by text, by picture and by both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genius.checkpoint import load_bundle, save_parts
from genius.decoder import Decoder, DecoderConfig
from genius.encoder import CONFIG_FILE, WEIGHTS_FILE
from genius.engine import Engine
from genius.fusion import Fusion, FusionConfig
from genius.index import CandidateIndex
from genius.quantizer import Quantizer, QuantizerConfig
from genius.schema import Candidate, Modality, Query

LEVELS = (3, *[4096] * 8)


def make(folder: Path) -> None:
    """Write the bundle, in half precision."""
    (folder / "encoder").mkdir(parents=True)
    clip = open_clip.create_model("ViT-L-14-quickgelu")
    weights = {name: value.half().contiguous() for name, value in clip.state_dict().items()}
    save_file(weights, folder / "encoder" / WEIGHTS_FILE)
    config = {"model_cfg": open_clip.get_model_config("ViT-L-14-quickgelu"), "preprocess_cfg": {}}
    (folder / "encoder" / CONFIG_FILE).write_text(json.dumps(config))
    quantizer = Quantizer(QuantizerConfig(768, LEVELS))
    for level in range(len(LEVELS)):
        quantizer.codebook(level).normal_(std=768**-0.5 * 0.8**level)
    decoder = DecoderConfig(LEVELS, 768, 512, layers=6, heads=8, feed_forward=2048, prefixes=30)
    save_parts(folder, "full-size", Fusion(FusionConfig(768, 2560, 5120)), quantizer, Decoder(decoder))


def measure(folder: Path, candidates: int, queries: int, device: str | None) -> dict[str, object]:
    """Open the bundle and search among random addresses."""
    before = _peak()
    started = time.perf_counter()
    bundle = load_bundle(folder, device)
    loading = time.perf_counter() - started
    loaded = _peak()
    dice = np.random.default_rng(0)
    codes = dice.integers(0, LEVELS, (candidates, len(LEVELS)))
    vectors = dice.standard_normal((candidates, 768)).astype(np.float16)
    vectors /= np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    records = [Candidate(str(n), Modality(int(code)), "text") for n, code in enumerate(codes[:, 0])]
    engine = Engine(bundle, CandidateIndex.build(records, codes, vectors, LEVELS))
    image = Image.fromarray(dice.integers(0, 255, (480, 640, 3), dtype=np.uint8))
    kinds = {"text": Query(text="a cat on a sofa"), "image": Query(image), "both": Query(image, "at night")}
    p50 = {kind: _median(engine, query, queries) for kind, query in kinds.items()}
    return {
        "device": str(bundle.encoder.device),
        "threads": torch.get_num_threads(),
        "load_s": round(loading, 1),
        "memory_before_gb": before,
        "memory_peak_loading_gb": loaded,
        "memory_peak_gb": _peak(),
        "candidates": candidates,
        "p50_ms": p50,
    }


def _median(engine: Engine, query: Query, times: int) -> dict[str, float]:
    """Median milliseconds of a search and of its stages; the first search only warms up."""
    timings = [engine.search([query])[0].timings for _ in range(times + 1)][1:]
    stages = ("encode", "fuse", "decode", "rerank", "total")
    return {stage: round(statistics.median(getattr(t, stage) for t in timings), 1) for stage in stages}


def _peak() -> float:
    """The most memory this process has used so far, in GiB (Linux)."""
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent process used
    return round(int(status.split("VmHWM:")[1].split()[0]) / 2**20, 2)


def main() -> None:
    """Make the bundle if it is not there, and measure it in a fresh process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=20, help="of each kind")
    parser.add_argument("--device", default=None)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # in the fresh process
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.folder, args.candidates, args.queries, args.device), indent=1))
        return
    if not (args.folder / "config.json").is_file():
        torch.manual_seed(0)
        with torch.no_grad():
            make(args.folder)
    subprocess.run([sys.executable, *sys.argv, "--measure"], check=True)


if __name__ == "__main__":
    main()
