"""`python -m nbchat` is `nbchat`."""

from __future__ import annotations

from nbchat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
