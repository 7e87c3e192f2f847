"""JupyterHub's configuration: what is the same everywhere, and the settings of this hub."""

import os
import socket
import ssl
import sys

from zhub import proxy, settings
from zhub.authenticator import DirectoryAuthenticator
from zhub.early_proxy import EarlyProxy
from zhub.networks import HUB_ALIAS
from zhub.privileges import CERTIFICATE, KEY
from zhub.settings import LdapTls
from zhub.spawner import UserSpawner

told = settings.read(os.environ)
private = os.environ["ZHUB_PRIVATE"]
c = get_config()  # type: ignore[name-defined] # JupyterHub gives it to this file

# Web: HTTPS on the one published port; hub and proxy API stay inside.
c.JupyterHub.bind_url = f"https://:{told.port}{told.base_url}"
c.JupyterHub.ssl_key = f"{private}/{KEY}"
c.JupyterHub.ssl_cert = f"{private}/{CERTIFICATE}"
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.JupyterHub.proxy_class = EarlyProxy
c.EarlyProxy.api_url = proxy.API

# State: what a new hub container takes over from the last one, running servers included.
c.JupyterHub.db_url = f"sqlite:///{settings.STATE}/jupyterhub.sqlite"
c.JupyterHub.upgrade_db = True
c.JupyterHub.cookie_secret_file = f"{settings.STATE}/cookie_secret"
c.JupyterHub.cleanup_servers = False

# Login. Without allow_existing_users=False, who has left the group would still be let in.
c.JupyterHub.authenticator_class = DirectoryAuthenticator
c.DirectoryAuthenticator.server_addresses = list(told.ldap_servers)
c.DirectoryAuthenticator.server_address = told.ldap_servers[0]
c.DirectoryAuthenticator.server_port = told.ldap_port
c.DirectoryAuthenticator.tls_strategy = {
    LdapTls.STARTTLS: "before_bind",
    LdapTls.LDAPS: "on_connect",
    LdapTls.NONE: "insecure",
}[told.ldap_tls]
c.DirectoryAuthenticator.tls_kwargs = {
    "validate": ssl.CERT_REQUIRED,
    "ca_certs_file": str(told.ldap_ca_file or ssl.get_default_verify_paths().cafile),
}
c.DirectoryAuthenticator.bind_dn_template = list(told.ldap_dn_templates)
# Upper case, because RACF's users type it; the hub lowers it, so that nobody is two people.
c.DirectoryAuthenticator.valid_username_regex = r"^[A-Za-z0-9@#$][A-Za-z0-9@#$._-]{0,63}$"
c.DirectoryAuthenticator.allowed_groups = list(told.ldap_allowed_groups)
c.DirectoryAuthenticator.allow_all = told.ldap_allow_everyone
c.DirectoryAuthenticator.allow_existing_users = False
c.DirectoryAuthenticator.admin_users = set(told.admin_users)

# Servers: one container, one network and one volume a user.
c.JupyterHub.spawner_class = UserSpawner
c.UserSpawner.network_options = {
    "prefix": told.prefix,
    "hub": socket.gethostname(),
    "pool": told.user_network_pool,
    "internet": told.user_internet,
}
c.UserSpawner.hub_connect_url = f"http://{HUB_ALIAS}:8081"
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

if told.idle_timeout:
    c.JupyterHub.services = [
        {
            "name": "idle-culler",
            "command": [
                *(sys.executable, "-I", "-m", "jupyterhub_idle_culler"),
                f"--timeout={told.idle_timeout}",
            ],
        }
    ]
    c.JupyterHub.load_roles = [
        {
            "name": "idle-culler",
            "services": ["idle-culler"],
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        }
    ]
