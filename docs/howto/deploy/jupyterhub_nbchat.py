"""The service of nbchat in JupyterHub: `load_subconfig("jupyterhub_nbchat.py")` in jupyterhub_config.py."""

import os
import sys

c = get_config()  # noqa: F821 - JupyterHub provides it

listen = os.environ.get("NBCHAT_LISTEN", "127.0.0.1:8800")
store = os.environ.get("NBCHAT_STORE", "sqlite:///var/lib/nbchat")
teams = os.environ.get("NBCHAT_TEAMS")
access = "access:services!service=nbchat"

# JupyterHub starts the service, restarts it when it ends, and routes /services/nbchat/ to it.
command = [sys.executable, "-m", "nbchat", "runner", "--auth", "hub", "--listen", listen]
c.JupyterHub.services.append(
    {
        "name": "nbchat",
        "url": f"http://{listen}",
        "command": [*command, *(["--teams", teams] if teams else [])],
        "environment": {"NBCHAT_STORE": store},  # a password in it is not in the list of processes
        "display": False,  # it has no page
    }
)

# Users may use the service, and so may the kernels of their servers: the token of a server has those scopes
# of the role "server" that its user has too. These roles replace JupyterHub's, whose scopes come first.
c.JupyterHub.load_roles.extend(
    [
        {"name": "user", "scopes": ["self", access]},
        {"name": "server", "scopes": ["users:activity!user", "access:servers!server", access]},
    ]
)
