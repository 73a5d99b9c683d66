"""Every demo notebook runs from top to bottom, with the embedded server and without a page."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_demo_notebooks() -> None:
    """The notebook that `make demo` opens exists."""
    assert ROOT / "notebooks" / "01-first-chat.ipynb" in NOTEBOOKS


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_demo_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    """No cell raises, and nothing is printed to stderr."""
    notebook = nbformat.read(path, as_version=4)
    # Run in an empty folder: the notebook must be self-contained, and its files must not be in the checkout.
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=here).execute()
    complaints = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]
    assert complaints == []
    nbformat.validate(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_demo_notebook_is_committed_without_its_outputs(path: Path) -> None:
    """Committed outputs would come from one machine, and change with every run."""
    notebook = nbformat.read(path, as_version=4)
    assert [cell.source for cell in notebook.cells if cell.get("outputs")] == []
    assert [cell.source for cell in notebook.cells if cell.get("execution_count")] == []
