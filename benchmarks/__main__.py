"""Runs all benchmarks in sequence; `python -m benchmarks decode wire` runs only those two."""

import importlib
import sys

PARTS = (
    "imports",
    "answers",
    "decode",
    "wire",
    "page",
    "sessions",
    "persist",
    "describe",
    "runner",
    "service_link",
    "tools",
    "redis_store",
    "stored",
    "service",
    "together",
)


def main() -> None:
    """Run the named benchmarks, or all."""
    wanted = sys.argv[1:] or PARTS
    for part in wanted:
        if part not in PARTS:
            sys.exit(f"there is no part {part!r}; the parts are {', '.join(PARTS)}")
        print(f"\n# {part}\n", flush=True)
        sys.argv[1:] = []
        importlib.import_module(f"benchmarks.{part}").main()


if __name__ == "__main__":
    main()
