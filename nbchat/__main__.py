"""Runs the command `nbchat` as `python -m nbchat`."""

from __future__ import annotations

from nbchat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
