"""`python -m genius convert`: the published checkpoints become a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genius.cli.common import full_path
from genius.schema import UserError

# Where the authors publish them.
HUB = {
    "clip_sf": ("TIGER-Lab/UniIR", "checkpoint/CLIP_SF/clip_sf_large.pth"),
    "quantizer": ("Sungyeon/GENIUS", "checkpoint/rq_clip_large.pth"),
    "decoder": ("Sungyeon/GENIUS", "checkpoint/GENIUS_t5small.pth"),
}


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "convert",
        help="turn the published checkpoints into a model for this program",
        description="Reads tensors only; nothing that the files hold is run.",
    )
    parser.add_argument("network", choices=("genius",), help="whose checkpoints: those of the paper")
    parser.add_argument("--clip-sf", type=Path, metavar="FILE", help="UniIR's clip_sf_large.pth")
    parser.add_argument("--quantizer", type=Path, metavar="FILE", help="rq_clip_large.pth")
    parser.add_argument("--decoder", type=Path, metavar="FILE", help="GENIUS_t5small.pth")
    parser.add_argument(
        "--from-hub", action="store_true", help="fetch the files that are not given; resumes where it stopped"
    )
    parser.add_argument("--out", type=full_path, required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument(
        "--half", action="store_true", help="store half precision: half the size, codes may differ a little"
    )
    parser.set_defaults(handle=convert)


def convert(args: argparse.Namespace) -> None:
    """Convert, and say what was left out."""
    files = {name: getattr(args, name) for name in HUB}
    missing = [f"--{name.replace('_', '-')}" for name, path in files.items() if path is None]
    if missing and not args.from_hub:
        raise UserError(f"Give {', '.join(missing)} as well, or --from-hub to fetch what is missing.")
    from genius.convert import CONVERSION_FILE, check_free, convert_genius
    from genius.hub import HubAddress, fetch_file

    check_free(args.out)  # before a long download
    for name, (repo, path) in HUB.items():
        files[name] = files[name] or fetch_file(HubAddress(repo), "model", path)
    done = convert_genius(**files, out=args.out, half=args.half)
    for file, names in done.ignored.items():
        print(f"{file}: {len(names)} entries left out")
    for note in done.notes:
        print(note)
    print(f"The model is in {args.out}; {CONVERSION_FILE} there names what was left out, with checksums.")
    print(f"Search with it: python -m genius search TEXT --bundle {args.out}")
