"""Cost of `import nbchat` in addition to the modules that a kernel has loaded.

Each import is timed in a new process, after ipykernel and ipywidgets. The figure is the processor time of
the fastest of five.
"""

import subprocess
import sys

ROUNDS = 5

SCRIPT = """
import time
import ipykernel.ipkernel, ipywidgets
start = time.process_time()
{statement}
print(time.process_time() - start)
"""

STATEMENTS = {
    "import nbchat": "import nbchat",
    "… and the registry": "import nbchat; nbchat.registry",
    "… and ChatTabs": "import nbchat; nbchat.ChatTabs",
    "import anywidget": "import anywidget",
    "import openai": "import openai",
}


def measure(statement: str) -> float:
    """Return the processor seconds of a statement in a new process."""
    script = SCRIPT.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print a line for each statement."""
    for name, statement in STATEMENTS.items():
        print(f"{name:<20} {min(measure(statement) for _ in range(ROUNDS)) * 1000:7.1f} ms")


if __name__ == "__main__":
    main()
