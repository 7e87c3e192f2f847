"""JupyterHub's configuration: what is the same everywhere, and the settings of this hub."""

import os
import socket
import sys

from tornado.httpserver import HTTPServer

from zhub import engine, settings
from zhub.contract import HUB_URL
from zhub.front import proxy
from zhub.front.early_proxy import EarlyProxy
from zhub.front.limits import LimitedServer
from zhub.login import administrators, tokens
from zhub.login.authenticator import DirectoryAuthenticator
from zhub.privileges import CERTIFICATE, KEY
from zhub.servers.spawner import UserSpawner
from zhub.state import database, logins

told = settings.read(os.environ)
private = os.environ["ZHUB_PRIVATE"]
c = get_config()  # type: ignore[name-defined] # JupyterHub gives it to this file

# Web: HTTPS on the one published port; hub and proxy API stay inside.
c.JupyterHub.bind_url = f"https://:{told.port}{told.base_url}"
c.JupyterHub.ssl_key = f"{private}/{KEY}"
c.JupyterHub.ssl_cert = f"{private}/{CERTIFICATE}"
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
# With a name for each user, what one server's pages do stays away from the hub's cookies and pages:
# also from cookies that were planted for all names, which the prefix keeps out.
c.JupyterHub.subdomain_host = told.subdomain_url
c.JupyterHub.cookie_host_prefix_enabled = bool(told.subdomain_host)
c.JupyterHub.proxy_class = EarlyProxy
c.EarlyProxy.api_url = proxy.API
HTTPServer.configure(LimitedServer)

# State: what a new hub container takes over from the last one, running servers included.
database.install()
c.JupyterHub.db_url = f"sqlite:///{database.FILE}"
c.JupyterHub.upgrade_db = True
c.JupyterHub.cookie_secret_file = f"{settings.STATE}/cookie_secret"
c.JupyterHub.cleanup_servers = False

# Login. Without allow_existing_users=False, who has left the group would still be let in.
c.JupyterHub.authenticator_class = DirectoryAuthenticator
c.DirectoryAuthenticator.ldap = told.ldap
c.DirectoryAuthenticator.allowed_groups = list(told.ldap.allowed_groups)
c.DirectoryAuthenticator.allow_all = told.ldap.allow_everyone
c.DirectoryAuthenticator.allow_existing_users = False
if told.confined:
    # Only the guard opens the way to other addresses.
    c.DirectoryAuthenticator.directory_has_moved = engine.directory_has_moved
c.DirectoryAuthenticator.admin_users = set(told.admin_users)
if not told.admin_access:
    administrators.keep_out()
c.DirectoryAuthenticator.manage_groups = bool(told.ldap.group_base)
# Who is removed from the directory loses pages, tokens and new servers; recheck.py takes the rest.
# Without a service account it is a day after the last login, for everybody.
c.DirectoryAuthenticator.auth_refresh_age = told.ldap.recheck if told.ldap.bind_dn else logins.LOOKS
c.DirectoryAuthenticator.auth_refresh_strict = True
c.DirectoryAuthenticator.refresh_pre_spawn = True
c.JupyterHub.cookie_max_age_days = 1
tokens.forget_old_logins()
c.JupyterHub.token_expires_in_max_seconds = told.longest_token

# Servers: one container, one network and one volume a user.
c.JupyterHub.spawner_class = UserSpawner
c.UserSpawner.network_options = {
    "prefix": told.prefix,
    "hub": socket.gethostname(),
    "pool": told.user_network_pool,
    "internal": told.internal,
}
c.UserSpawner.hub_connect_url = HUB_URL
c.UserSpawner.stack = told.prefix
c.UserSpawner.prefix = f"{told.prefix}-user"
c.UserSpawner.image = told.notebook_image
c.UserSpawner.pull_policy = "never"
c.UserSpawner.remove = True
# By address: a name would have to fit a DNS label, which user names need not.
c.UserSpawner.use_internal_ip = True
c.UserSpawner.volumes = {f"{told.prefix}-home-{{username}}": "/home/jovyan"}
c.UserSpawner.notebook_dir = "/home/jovyan"
c.UserSpawner.mem_limit = told.user_memory
c.UserSpawner.cpu_limit = told.user_cpus
c.UserSpawner.extra_host_config = {
    "memswap_limit": told.user_memory,
    "pids_limit": told.user_pids,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
}
# What users put into their home must not change the process that holds their hub token.
c.UserSpawner.disable_user_config = True
c.UserSpawner.start_timeout = told.start_timeout
c.UserSpawner.http_timeout = told.start_timeout

c.JupyterHub.services = []
c.JupyterHub.load_roles = []
if told.idle_timeout:
    c.JupyterHub.services += [
        {
            "name": "idle-culler",
            "command": [
                *(sys.executable, "-I", "-m", "jupyterhub_idle_culler"),
                f"--timeout={told.idle_timeout}",
            ],
        }
    ]
    c.JupyterHub.load_roles += [
        {
            "name": "idle-culler",
            "services": ["idle-culler"],
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        }
    ]
# Not "+=": with idleTimeout 0 there is no list yet.
c.JupyterHub.services.append(
    {
        "name": "recheck",
        "command": [sys.executable, "-I", "-m", "zhub", "recheck"],
        "environment": {name: os.environ[name] for name in os.environ if name[:5] == "ZHUB_"},
    }
)
c.JupyterHub.load_roles.append(
    {
        "name": "recheck",
        "services": ["recheck"],
        "scopes": ["list:users", "read:servers", "delete:servers"],
    }
)
