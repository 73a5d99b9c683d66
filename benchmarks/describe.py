"""Cost of a data frame of 1,000,000 rows and 40 columns as context, compared with other descriptions.

Figures are the processor time of one call in a process that has loaded pandas, and tokens, estimated as four
bytes each. `dtypes` and `first rows` reproduce the text that two other notebook assistants send.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

import nbchat
from nbchat.handles.attachments import estimate_tokens

ROWS = 1_000_000


def frame(rows: int = ROWS) -> pd.DataFrame:
    """Return numbers, dates, flags, categories, and columns of distinct texts."""
    random = np.random.default_rng(0)
    columns: dict[str, object] = {f"value_{i}": random.normal(size=rows) for i in range(20)}
    columns |= {f"count_{i}": random.integers(0, 1000, rows) for i in range(8)}
    columns |= {f"flag_{i}": random.random(rows) < 0.3 for i in range(4)}  # noqa: PLR2004 - a share
    regions = ["north", "south", "east", "west", "centre", "abroad"]
    columns |= {f"region_{i}": random.choice(regions, rows) for i in range(4)}
    columns |= {name: pd.date_range("2020", periods=rows, freq="min") for name in ("opened", "closed")}
    columns["mail"] = [f"user{i}@mail{i % 100}.org" for i in range(rows)]
    columns["name"] = [f"Ada{i} Lovelace" for i in range(rows)]
    return pd.DataFrame(columns)


def main() -> None:
    """Print a line for each description of the frame."""
    df = frame()
    ways: dict[str, Callable[[], str]] = {
        "nbchat, schema": lambda: nbchat.describe(df, "schema"),
        "nbchat, summary": lambda: nbchat.describe(df),
        "nbchat, rows": lambda: nbchat.describe(df, "rows"),
        "str(df)": lambda: str(df),
        "dtypes": lambda: f"{df.shape}\n{df.dtypes.to_string()}",
        "first rows": lambda: df.head(10).to_json(orient="records", date_format="iso"),
        "head().to_markdown()": lambda: df.head().to_markdown(),
        "describe(include='all')": lambda: str(df.describe(include="all").to_string()),
    }
    for name, describe in ways.items():
        start = time.process_time()
        text = describe()
        spent = time.process_time() - start
        named = sum(str(column) in text for column in df.columns)
        leaves = "rows leave" if "Lovelace" in text else "no text of a row"
        print(
            f"{name:<24} {spent * 1000:9.1f} ms {estimate_tokens(text):6,} tokens, "
            f"{named:2} of 40 columns, {leaves}"
        )


if __name__ == "__main__":
    main()
