"""Peers in environments of their own: their dependencies never bend ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PEERS = {
    "cleanlab": ["cleanlab==2.9.0", "scikit-learn", "pandas"],
    "crowd-kit": ["crowd-kit==1.4.2"],
    "snorkel": ["torch==2.13.0", "snorkel==0.10.0"],
}
"""What is installed for a peer. cleanlab's environment holds crowd-kit too, as some scripts compare with both."""


def peer_python(name: str) -> str:
    """The interpreter of a peer's environment, which is made on first use.

    It lies in $LABELWRIGHT_PEERS, by default in the user's cache. An environment that could not be finished is made anew.
    """
    if name not in PEERS:
        raise SystemExit(f"no peer {name!r}; there are {', '.join(PEERS)}")
    folder = Path(os.environ.get("LABELWRIGHT_PEERS", Path.home() / ".cache" / "labelwright-peers")) / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"installing {name} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        wanted = PEERS[name] + (PEERS["crowd-kit"] if name == "cleanlab" else [])
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        done.write_text("\n".join(wanted) + "\n")
    return str(python)


def with_peer(arguments: list[str]) -> list[str]:
    """The arguments with `--peer NAME` turned into `--peer-python INTERPRETER`, which the scripts take."""
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name = next(rest, "") if argument == "--peer" else argument.removeprefix("--peer=")
        if argument == "--peer" or argument.startswith("--peer="):
            out += ["--peer-python", peer_python(name)]
        else:
            out.append(argument)
    return out
