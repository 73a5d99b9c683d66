"""`environment` isolates a Jupyter server from the user's Jupyter folders and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PROVIDER_SETTINGS: Final = ("OPENAI_", "NBCHAT_")
"""Prefixes of the variables that select a provider. Without them the embedded server is used."""

QUIET: Final[Mapping[str, Mapping[str, Any]]] = {
    # Disables the question about news and the check for a newer JupyterLab.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
"""JupyterLab settings by plugin."""

PAGE: Final[Mapping[str, Any]] = {"buildAvailable": False, "buildCheck": False}
"""Configuration of every page. Without it, each opened page starts Node twice to check for a build."""


def environment(
    home: Path, base: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Return `base` with every folder that Jupyter writes to under `home`, and without a provider.

    Parameters
    ----------
    home
        Parent of the folders. The settings of JupyterLab and `PAGE` are written there by this call.
    base
        The initial variables; usually `os.environ`.
    settings
        JupyterLab settings by plugin, in addition to `QUIET`.
    """
    files: dict[Path, Mapping[str, Any]] = {
        home / "lab-settings" / f"{plugin.replace(':', '/')}.jupyterlab-settings": values
        for plugin, values in {**QUIET, **(settings or {})}.items()
    }
    for path, values in {**files, home / "config" / "labconfig" / "page_config.json": PAGE}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    kept = {key: value for key, value in base.items() if not key.startswith(PROVIDER_SETTINGS)}
    return kept | {
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "lab-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "lab-workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
