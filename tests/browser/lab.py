"""`Server` and `NotebookPage`: drive a real JupyterLab or Notebook 7 in Chromium.

`Server` is one Jupyter server; `NotebookPage` is one page on one notebook, and performs a user's actions.
Commands go through `window.jupyterapp`, which the server exposes for tests. All waits are for conditions,
never for a fixed time.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import nbformat
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.waiting import wait_for
from tools.jupyter_home import environment

App = Literal["lab", "notebook"]
MODULES: Mapping[App, str] = {"lab": "jupyterlab", "notebook": "notebook"}
START_S = 60.0
"""Seconds that a server or a page may take to start on a busy machine."""

CHROMIUM_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)


def _end_with_parent() -> None:
    """On Linux, end when the test run is killed; otherwise an unused server would remain."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


class Server:
    """A Jupyter server on loopback, in its own process group, with its own folders.

    Parameters
    ----------
    home
        An empty folder: settings, journals and the log go here, notebooks under `notebooks`.
    app
        What the pages are: JupyterLab, or Notebook 7.
    settings
        JupyterLab settings by plugin, as `{"@jupyterlab/apputils-extension:kernels-settings": {...}}`.
    variables
        Environment of the server, and so of its kernels, on top of this process's.
    python
        The interpreter of the environment that the server is installed in.
    root
        The folder of notebooks, if it is that of another server.
    """

    def __init__(
        self,
        home: Path,
        app: App = "lab",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        variables: Mapping[str, str] | None = None,
        python: str = sys.executable,
        *,
        root: Path | None = None,
    ) -> None:
        self.app = app
        self._home = home
        self.root = root or home / "notebooks"
        self.root.mkdir(parents=True, exist_ok=root is not None)
        self._log = home / "server.log"
        environ = environment(home, os.environ, settings) | {"HOME": str(home)} | dict(variables or {})
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(python, "-m", MODULES[app], "--no-browser", "--expose-app-in-browser"),
                    *(["--allow-root"] if os.geteuid() == 0 else []),
                    *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={self.root}"),
                ],
                cwd=home,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one C call, no lock that a thread could hold
            )
        # The server writes its port and token to a file as soon as it listens.
        said = Path(environ["JUPYTER_RUNTIME_DIR"]) / f"jpserver-{self._process.pid}.json"
        try:
            wait_for(lambda: self._is_dead() or said.exists(), "the Jupyter server's start", START_S)
            info = wait_for(lambda: _read_json(said), "the Jupyter server's own file", START_S)
            self.url: str = info["url"].rstrip("/").replace("localhost", "127.0.0.1")
            self.token: str = info["token"]
            wait_for(self._answers, "the Jupyter server's first answer", START_S)
        except BaseException:
            self.stop()
            raise

    def _is_dead(self) -> bool:
        if self._process.poll() is not None:
            message = f"the Jupyter server ended while it started:\n{self.log()}"
            raise RuntimeError(message)
        return False

    def _answers(self) -> bool:
        try:
            return "version" in self.api("")
        except OSError:
            return False

    def log(self) -> str:
        """Return the end of what the server and its kernels printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-20_000:]

    def api(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Call the server's REST API, as `api("kernels")`, and return its answer."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def address(self, path: str) -> str:
        """Return the URL of a notebook's page."""
        # A workspace for each notebook: the default one would reopen those of earlier tests.
        place = f"lab/workspaces/{Path(path).stem}/tree" if self.app == "lab" else "notebooks"
        return f"{self.url}/{place}/{path}?token={self.token}"

    def add_kernel(self, requirement: str) -> str:
        """Offer a kernel with another release of one package, as `ipykernel==7.3.0`; return its name.

        Everything else of it is this environment. The release is installed once for each environment.
        """
        name = requirement.replace("==", "-")
        folder = Path(sys.prefix) / "share" / "nbchat-kernels" / name
        if not folder.exists():
            install(requirement, folder)
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PYTHONPATH": str(folder)},
        }
        file = self._home / "data" / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(spec), encoding="utf-8")
        return name

    def end_kernels(self) -> None:
        """End every session and its kernel."""
        wait_for(self._ended_sessions, "the end of all sessions")

    def _ended_sessions(self) -> bool:
        sessions = self.api("sessions")
        for session in sessions:
            # The server answers with 500 while it restarts a kernel that was killed.
            with contextlib.suppress(urllib.error.HTTPError):
                self.api(f"sessions/{session['id']}", "DELETE")
        return not sessions

    def stop(self) -> None:
        """End the server, and with it its kernels."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def install(requirement: str, folder: Path) -> None:
    """Install one package into its own folder; of several concurrent installations, the first to end wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        made = Path(unfinished) / folder.name
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(made), requirement], check=True)
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _read_json(path: Path) -> Any:
    """Return a file's JSON, or `None` while it is still being written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def write_notebook(
    path: Path,
    cells: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
    kernel: str = "python3",
) -> None:
    """Write a notebook of code cells; `python3` is the environment's own kernel."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(cells)],
        metadata={
            "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
            **(metadata or {}),
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


NETWORK = """
// The page's websockets, in the hands of a test. Installed before any other script runs.
(() => {
  const Native = window.WebSocket;
  const network = (window.testNetwork = {
    cut: false, // closed, and new ones are refused
    silent: false, // open, and nothing passes: what a sleeping laptop leaves
    tamper: null, // (event) => events to deliver in its place
    sockets: new Set(),
    text: ({ data }) => (typeof data === "string" ? data : new TextDecoder("latin1").decode(data)),
  });
  window.WebSocket = class WebSocket extends Native {
    #handler = null;
    dead = false; // silent, until the page opens another one
    constructor(url, protocols) {
      super(network.cut ? "ws://127.0.0.1:65535/" : url, protocols); // nothing listens on this port
      network.sockets.add(this);
      this.addEventListener("close", () => network.sockets.delete(this));
    }
    send(data) { if (!network.silent && !this.dead) super.send(data); }
    get onmessage() { return this.#handler; }
    set onmessage(handler) {
      this.#handler = handler;
      super.onmessage = handler && ((event) => {
        if (network.silent || this.dead) return;
        for (const each of network.tamper ? network.tamper(event) : [event]) handler.call(this, each);
      });
    }
  };
})();
"""


class NotebookPage:
    """One browser page on one notebook.

    Parameters
    ----------
    server
        Where the notebook is.
    page
        A page that nothing was opened in yet.
    path
        The notebook, relative to the server's root.
    """

    def __init__(self, server: Server, page: Page, path: str) -> None:
        self.server = server
        self.page = page
        self.path = path
        self.console: list[str] = []
        """Console messages, and uncaught errors (`uncaught: …`)."""
        self.foreign_requests: list[str] = []
        """Requested addresses of other hosts."""
        self._panel = (
            "[...(window.jupyterapp?.shell.widgets('main') ?? [])]"
            f".find((w) => w.content?.widgets && w.context?.path === {json.dumps(path)})"
        )
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._note(request.url))
        page.add_init_script(NETWORK)

    def _note(self, url: str) -> None:
        if url.startswith(("http:", "https:", "ws:", "wss:")) and not url.startswith(self.server.url):
            self.foreign_requests.append(url)

    # Opening, and the page as a whole.

    def open(self) -> Self:
        """Open the notebook, and wait until its kernel is connected."""
        self.page.goto(self.server.address(self.path))
        return self.wait_until_ready()

    def reload(self) -> Self:
        """Reload the page, as with F5, and wait until the kernel is connected."""
        self.page.reload()
        return self.wait_until_ready()

    def wait_until_ready(self) -> Self:
        """Wait until the notebook is loaded and its kernel has answered."""
        self.page.wait_for_function(f"() => !!({self._panel})", timeout=START_S * 1000)
        self.evaluate("panel.context.ready")
        self.evaluate("panel.sessionContext.ready")
        self.evaluate("panel.sessionContext.session.kernel.info")
        return self.wait_until_connected()

    def wait_until_connected(self) -> Self:
        """Wait until the kernel's websocket is open."""
        self.wait_until("panel.sessionContext.session?.kernel?.connectionStatus === 'connected'")
        return self

    def evaluate(self, expression: str, argument: object = None) -> Any:
        """Return the value of a JavaScript expression; in it, `panel` is the notebook."""
        return self.page.evaluate(
            f"async (argument) => {{ const panel = {self._panel}; return await ({expression}); }}", argument
        )

    def wait_until(self, expression: str, timeout_s: float = 30.0) -> None:
        """Wait until a JavaScript expression about `panel` is true."""
        self.page.wait_for_function(
            f"() => {{ const panel = {self._panel}; return !!panel && !!({expression}); }}",
            timeout=timeout_s * 1000,
        )

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    @property
    def uncaught_errors(self) -> list[str]:
        """Uncaught errors in the page."""
        return [line for line in self.console if line.startswith("uncaught: ")]

    # Cells.

    def cell(self, index: int) -> Locator:
        """Return a cell, from 0, with its outputs."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the output area of a cell, including widgets."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def run_cell(self, index: int, *, wait: bool = True) -> None:
        """Run a cell; with `wait=False`, return when the kernel runs it or has queued it."""
        command = """(async () => {
          panel.content.activeCellIndex = argument;
          panel.content.deselectAll();
          window.jupyterapp.shell.activateById(panel.id);
          return window.jupyterapp.commands.execute("notebook:run-cell");
        })()"""
        if wait:
            self.evaluate(command, index)
        else:
            self.evaluate(f"void {command}", index)
            state = f"panel.content.widgets[{index}].model"
            self.wait_until(f"{state}.executionState === 'running' || {state}.executionCount !== null")

    def run_all(self) -> None:
        """Run every cell, from the top, and wait for the last."""
        self.evaluate("""(async () => {
          window.jupyterapp.shell.activateById(panel.id);
          return window.jupyterapp.commands.execute("notebook:run-all-cells");
        })()""")

    def text(self, index: int) -> str:
        """Return a cell's outputs as text, including tracebacks, from the document (not from the screen)."""
        outputs = self.evaluate("panel.content.model.cells.get(argument).outputs.toJSON()", index)
        return "".join([_text_of(output) for output in outputs])

    def set_source(self, index: int, source: str) -> None:
        """Replace the source of a cell."""
        self.evaluate(
            "panel.content.model.cells.get(argument[0]).sharedModel.setSource(argument[1])", [index, source]
        )

    # The document.

    def save(self) -> None:
        """Save with Ctrl-S, as a user does, and repeat until no change is unsaved."""
        for _ in range(9):
            self.page.keyboard.press("Control+s")
            with contextlib.suppress(PlaywrightTimeout):
                self.wait_until("!panel.context.model.dirty", timeout_s=3)
                return
        self.page.keyboard.press("Control+s")
        self.wait_until("!panel.context.model.dirty")

    def metadata(self) -> dict[str, Any]:
        """Return the notebook's metadata in the page, saved or not."""
        metadata: dict[str, Any] = self.evaluate("panel.context.model.sharedModel.getMetadata()")
        return metadata

    @property
    def file(self) -> Path:
        """The notebook's file on disk."""
        return self.server.root / self.path

    # The kernel.

    @property
    def kernel_id(self) -> str:
        """The server's id of the kernel."""
        kernel_id: str = self.evaluate("panel.sessionContext.session.kernel.id")
        return kernel_id

    def execute(self, code: str) -> str:
        """Run code in the kernel, outside the notebook's cells, and return its printed output.

        Raises
        ------
        RuntimeError
            If the code raised; the message is its traceback.
        """
        text, error = self.evaluate(
            """(async () => {
              let text = "", error = "";
              const future = panel.sessionContext.session.kernel.requestExecute(
                { code: argument, store_history: false });
              future.onIOPub = ({ header, content }) => {
                if (header.msg_type === "stream" && content.name === "stdout") text += content.text;
                if (header.msg_type === "error") error = content.traceback.join("\\n");
              };
              await future.done;
              return [text, error];
            })()""",
            code,
        )
        if error:
            raise RuntimeError(error)
        return str(text)

    def interrupt_kernel(self) -> None:
        """Interrupt the kernel, as the button does."""
        self.evaluate("panel.sessionContext.session.kernel.interrupt()")

    def restart_kernel(self) -> None:
        """Restart the kernel, and wait until the new one answers."""
        self.evaluate("panel.sessionContext.session.kernel.restart()")
        self.evaluate("panel.sessionContext.session.kernel.info")
        self.wait_until_connected()

    # The network between page and server.

    def cut_network(self) -> None:
        """Close the page's websockets and refuse new ones."""
        self.page.evaluate("""() => {
          window.testNetwork.cut = true;
          for (const socket of window.testNetwork.sockets) socket.close();
        }""")
        self.wait_until("panel.sessionContext.session.kernel.connectionStatus !== 'connected'")

    def silence_network(self) -> None:
        """Block all traffic in both directions, while the websockets stay open."""
        self.page.evaluate("() => { window.testNetwork.silent = true; }")

    def kill_sockets(self) -> None:
        """Block all traffic of the open websockets, which stay open; new ones work."""
        self.page.evaluate("() => { for (const socket of window.testNetwork.sockets) socket.dead = true; }")

    def restore_network(self) -> None:
        """Restore the traffic, and wait until JupyterLab has reconnected by itself."""
        self.page.evaluate(
            "() => Object.assign(window.testNetwork, { cut: false, silent: false, tamper: null })"
        )
        self.wait_until_connected()

    def tamper(self, function: str) -> None:
        """Put a JavaScript function between the websockets and JupyterLab.

        Parameters
        ----------
        function
            Takes a `MessageEvent` and returns the list of events to deliver in its place: an empty list, the
            event twice, or events kept from before. `testNetwork.text(event)` is the frame's content as text.
        """
        self.page.evaluate(f"() => {{ window.testNetwork.tamper = {function}; }}")


def _text_of(output: Mapping[str, Any]) -> str:
    """Return an output of a cell as text."""
    match output["output_type"]:
        case "stream":
            text = output["text"]
        case "error":
            text = "\n".join(output["traceback"])
        case _:
            text = output["data"].get("text/plain", "")
    return "".join(text) if isinstance(text, list) else str(text)
