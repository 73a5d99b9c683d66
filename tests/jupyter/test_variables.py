"""`@name` in `%%chat`, in a real kernel: the variables that are sent with a question."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment

SETUP = r"""
%load_ext nbchat
import nbchat
import pandas as pd
df = pd.DataFrame({"km": [775, 813], "owner": ["Lovelace 1", "Lovelace 2"]})
big = pd.DataFrame({f"c{i}": range(200) for i in range(50)})
note = "@df and {df}"
SECRET = "never named"
def parts():
    return [(part.name, part.text, part.kind) for part in nbchat.session("echo").messages[-2].parts[1:]]
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with variables, whose model answers with the received question."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {
        "NBCHAT_DEMO_PACE": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with Kernel(folder, env) as made:
        loaded = made.run(SETUP)
        assert loaded.error is None, loaded.traceback
        yield made


def ask(kernel: Kernel, text: str, options: str = "") -> str:
    """Return what the model received for a cell."""
    cell = kernel.run(f"%%chat -s echo -m nbchat-echo {options}\n{text}")
    assert cell.error is None, cell.traceback
    return str(cell.displays[-1]["text/plain"])


def test_a_mentioned_variable_is_sent_as_its_description(kernel: Kernel) -> None:
    """`@df` sends what `nbchat.describe(df)` returns, byte for byte, and the text of the cell."""
    received = ask(kernel, "why is @df so sparse?")
    assert kernel.value("parts() == [('df', nbchat.describe(df), 'variable')]") == "True"
    assert received.startswith("why is @df so sparse?\n\nVariable `df`:\n```\npandas DataFrame, 2 rows")
    assert "Lovelace" not in received


def test_variables_that_are_not_mentioned_are_not_sent(kernel: Kernel) -> None:
    """Escaped, quoted, unknown and inserted names send nothing, and neither does `--raw`."""
    assert ask(kernel, r"\@df `@df` @unknown me@df.org") == "@df `@df` @unknown me@df.org"
    assert ask(kernel, "{note}") == "@df and {df}"
    assert ask(kernel, "@df", "--raw") == "@df"
    assert kernel.value("parts()") == "[]"


def test_share_limits_the_detail_of_a_mention(kernel: Kernel) -> None:
    """`nbchat.config(share=…)` chooses the level for `@name`."""
    kernel.run("nbchat.config(share='schema')")
    ask(kernel, "@df")
    assert kernel.value("parts() == [('df', nbchat.describe(df, 'schema'), 'variable')]") == "True"
    kernel.run("nbchat.config(share=None)")


def test_the_last_error_is_sent(kernel: Kernel) -> None:
    """`@error` sends the failed cell and its traceback; a variable of that name has precedence."""
    kernel.run("def divide(a):\n    return a / 0\ndivide(SECRET and 1)")
    received = ask(kernel, "@error what now?")
    assert "ZeroDivisionError: division by zero" in received
    assert "Variable `error`:" in received
    assert "never named" not in received
    kernel.run("error = 3")
    assert "int: 3" in ask(kernel, "@error")
    kernel.run("del error")


def test_a_cell_is_sent_with_its_output(kernel: Kernel) -> None:
    """`@cell` sends the last cell, `@cell:3` the one with that number, `@cell:load` the one of that name."""
    kernel.run("# load\nprint('loaded')\n6 * 7")
    named = ask(kernel, "@cell:load").removeprefix("@cell:load")
    number = re.search(r"Variable `cell (\d+)`:", named)
    assert number is not None
    assert "```python\n# load\nprint('loaded')\n6 * 7\n```\n\nOutput:\n\n```\nloaded\n42\n```" in named
    assert ask(kernel, f"@cell:{number[1]}") == f"@cell:{number[1]}{named}"
    kernel.run("1 + 1")
    kernel.run("%chat config")
    assert "1 + 1" in ask(kernel, "explain @cell")
    cell = kernel.run("%%chat -s echo\n@cell:9999")
    assert "there is no cell '9999'" in cell.stderr


def test_a_message_has_a_limit_for_cells_and_variables_together(kernel: Kernel) -> None:
    """Cells and variables of one message are limited to 24,000 characters; exceeding them is an error."""
    kernel.run("long = 'x' * 5000\nfor i in range(6):\n    globals()[f'v{i}'] = long")
    kernel.run("# long\n" + "'x' * 10\n" * 900)
    names = "@cell:long @v0 @v1"
    ask(kernel, names)
    assert kernel.value("[len(text) for _, text, _ in parts()]") == "[6000, 5023, 5023]"
    ask(kernel, f"{names} @v2 @v3")
    assert kernel.value("[len(text) for _, text, _ in parts()][-2:]") == "[5023, 21]"
    kernel.run("for i in range(4, 300):\n    globals()[f'v{i}'] = long")
    cell = kernel.run(f"%%chat -s echo\n{names} " + " ".join(f"@v{i}" for i in range(2, 300)))
    assert "the context has more than 24,000 characters" in cell.stderr
    kernel.run("for i in range(300):\n    globals().pop(f'v{i}')\ndel long")


def test_a_truncated_data_frame_in_braces_gives_one_warning(kernel: Kernel) -> None:
    """`{big}` inserts its printed form, and a warning suggests `@big`; a small frame gives none."""
    cell = kernel.run("%%chat -s echo\n{big} {big}")
    assert cell.stderr.count("@big sends its columns, types and statistics") == 1
    assert "@df" not in kernel.run("%%chat -s echo\n{df} {big.shape}").stderr


def test_variables_are_listed_by_name_type_and_size(kernel: Kernel) -> None:
    """Data is listed, without private names, modules, functions and the names that IPython defines."""
    kernel.run("from nbchat.jupyter.variables import Variables")
    listed = eval(kernel.value("list(Variables(get_ipython()).listed())"))
    assert ("df", "DataFrame", "2 \N{MULTIPLICATION SIGN} 2") in listed
    assert ("note", "str", "12") in listed
    assert not {"pd", "parts", "In", "Out", "_", "get_ipython", "exit"} & {name for name, _, _ in listed}
