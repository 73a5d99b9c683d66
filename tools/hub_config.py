"""The configuration of the hub that `tools.hub` starts: two users, local processes, and nbchat as a service.

`NBCHAT_HUB` has the values that differ between hubs, as JSON.
"""

import json
import os
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub provides it
hub = json.loads(os.environ["NBCHAT_HUB"])
home = Path(hub["home"])

load_subconfig(hub["service"])  # type: ignore[name-defined]  # noqa: F821 - JupyterHub provides it

c.JupyterHub.bind_url = hub["url"]
c.JupyterHub.hub_bind_url = hub["hub_url"]
c.JupyterHub.db_url = f"sqlite:///{home / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(home / "cookie-secret")
c.JupyterHub.log_level = "INFO"
c.ConfigurableHTTPProxy.command = hub["proxy"]
c.ConfigurableHTTPProxy.api_url = hub["proxy_url"]
c.ConfigurableHTTPProxy.pid_file = str(home / "proxy.pid")

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = hub["password"]
c.Authenticator.allowed_users = set(hub["users"])
c.JupyterHub.load_groups = hub["groups"]

c.JupyterHub.spawner_class = "simple"  # processes of this user, for a hub on this machine only
c.SimpleLocalProcessSpawner.home_dir_template = str(home / "{username}")
c.Spawner.cmd = hub["server"]
c.Spawner.environment = {
    **hub["variables"],
    "JUPYTERLAB_SETTINGS_DIR": lambda spawner: str(home / spawner.user.name / "lab-settings"),
}
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
