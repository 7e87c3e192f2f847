"""JupyterHub's configuration: what every hub has in common, and the settings of this one."""

import os
import socket
import sys

from tornado.httpserver import HTTPServer

from zhub import acts, engine, logs, own_config, people, settings
from zhub.contract import CPU_SHARES, HOME_LIMIT, HUB_URL, OOM_SCORE
from zhub.front import links, proxy, site, token
from zhub.front.early_proxy import EarlyProxy
from zhub.front.limits import LimitedServer
from zhub.front.separate_proxy import SeparateProxy
from zhub.login import administrators, services, tokens
from zhub.login.authenticator import DirectoryAuthenticator
from zhub.metrics.token import SERVICE as METRICS
from zhub.people import messages
from zhub.servers import culling, last_words, pending, totals
from zhub.servers.measures import Stage
from zhub.servers.spawner import UserSpawner, as_written
from zhub.state import database, logins, plan

hub = settings.read(os.environ)
c = get_config()  # type: ignore[name-defined] # JupyterHub gives it to this file

c.JupyterHub.update(logs.of_application(os.environ))
c.JupyterHub.tornado_settings = {"log_function": acts.log_request}

# Web: HTTPS on the one published port; hub and proxy API stay inside.
c.JupyterHub.bind_url = f"https://:{hub.port}{hub.base_url}"
# Without a name here, JupyterHub would make this an http URL. Only the proxy reads the file.
c.JupyterHub.ssl_cert = c.JupyterHub.ssl_key = "the proxy's"
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
# With a host name for each user, pages of one server cannot touch the hub's cookies and pages. The
# prefix also keeps out cookies that a page plants for the whole domain.
c.JupyterHub.subdomain_host = hub.subdomain_url
c.JupyterHub.cookie_host_prefix_enabled = bool(hub.subdomain_host)
c.JupyterHub.proxy_class = EarlyProxy
c.ConfigurableHTTPProxy.api_url = proxy.API
if hub.separate_proxy:
    c.JupyterHub.proxy_class = SeparateProxy
    c.SeparateProxy.should_start = False
    c.SeparateProxy.auth_token = token.shared()
links.install()
c.JupyterHub.user_redirect_hook = links.to_own_server
c.JupyterHub.template_paths = [str(site.TEMPLATES)]
c.JupyterHub.template_vars = {
    "site": site.read,
    "plan": plan.notice,
    "messages": messages.of,
    "links": services.links(hub.services),
    "totals": totals.shown(hub.most_servers),
}
HTTPServer.configure(LimitedServer)

# State: a new hub container takes over what the last one left, running servers included.
database.install()
c.JupyterHub.db_url = f"sqlite:///{database.FILE}"
c.JupyterHub.upgrade_db = True
c.JupyterHub.cookie_secret_file = f"{settings.STATE}/cookie_secret"
c.JupyterHub.cleanup_servers = False

# Login. Without allow_existing_users=False, users who left the group could still log in.
c.JupyterHub.authenticator_class = DirectoryAuthenticator
c.DirectoryAuthenticator.ldap = hub.ldap
c.DirectoryAuthenticator.allowed_groups = list(hub.ldap.allowed_groups)
c.DirectoryAuthenticator.allow_all = hub.ldap.allow_everyone
c.DirectoryAuthenticator.allow_existing_users = False
if hub.confined:
    # Only the guard opens the way to other addresses.
    c.DirectoryAuthenticator.directory_has_moved = engine.directory_has_moved
c.DirectoryAuthenticator.admin_users = set(hub.admin_users)
if not hub.admin_access:
    administrators.keep_out(of_groups=hub.services.by_groups)
c.DirectoryAuthenticator.manage_groups = bool(hub.ldap.group_base)
# A user who is removed from the directory loses pages, tokens and new servers; recheck.py stops
# running servers. Without a service account this happens to everyone a day after the last login.
c.DirectoryAuthenticator.auth_refresh_age = hub.ldap.recheck if hub.ldap.bind_dn else logins.LOOKS
c.DirectoryAuthenticator.auth_refresh_strict = True
c.DirectoryAuthenticator.refresh_pre_spawn = True
c.JupyterHub.cookie_max_age_days = 1
tokens.forget_old_logins()
c.JupyterHub.token_expires_in_max_seconds = hub.longest_token

# Servers: one container, one network and one volume a user.
c.JupyterHub.spawner_class = UserSpawner
pending.install()
c.JupyterHub.extra_handlers = [*last_words.HANDLERS, *messages.HANDLERS]
c.UserSpawner.network_options = {
    "prefix": hub.prefix,
    "hub": socket.gethostname(),
    "pool": hub.user_network_pool,
    "internal": hub.internal,
}
c.UserSpawner.hub_connect_url = HUB_URL
c.UserSpawner.stack = hub.prefix
c.UserSpawner.prefix = f"{hub.prefix}-user"
c.UserSpawner.image = hub.notebook_image
# A start looks at the image anyway, for its command, and fails if there is none.
c.UserSpawner.pull_policy = "skip"
c.UserSpawner.remove = True
# By address: a host name must be a valid DNS label, and user names need not be.
c.UserSpawner.use_internal_ip = True
c.UserSpawner.volumes = {f"{hub.prefix}-home-{{username}}": "/home/jovyan"}
c.UserSpawner.shared_folders = list(hub.shared_folders)
c.UserSpawner.notebook_dir = "/home/jovyan"
c.UserSpawner.mem_limit = hub.user_memory
c.UserSpawner.cpu_limit = hub.user_cpus
c.UserSpawner.extra_host_config = {
    "auto_remove": False,
    "memswap_limit": hub.user_memory,
    "shm_size": hub.user_shared_memory,
    "pids_limit": hub.user_pids,
    "oom_score_adj": OOM_SCORE,
    "cpu_shares": CPU_SHARES,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "log_config": {"Type": hub.log_driver, "Config": as_written(hub.log_options)},
}
# Files in a user's home must not change the process that holds the user's hub token.
c.UserSpawner.disable_user_config = True
c.UserSpawner.step_timeout = hub.start_timeout
# JupyterHub's own limit is one for all steps.
c.UserSpawner.start_timeout = hub.start_timeout * len(Stage)
c.UserSpawner.http_timeout = hub.start_timeout
# They wait for their turn (servers/turns.py) instead of being refused.
c.JupyterHub.concurrent_spawn_limit = 0
# How long nobody is served after a restart of the hub, for a server that hangs; the shortest.
c.JupyterHub.init_spawners_timeout = 1

c.JupyterHub.services = []
c.JupyterHub.load_roles = []
c.UserSpawner.environment = {
    **hub.user_environment,
    "ZHUB_KERNEL_IDLE_TIMEOUT": str(hub.kernel_idle_timeout),
    "JUPYTERHUB_ACTIVITY_INTERVAL": str(hub.activity_interval),
    **({HOME_LIMIT: str(hub.home_limit)} if hub.home_limit else {}),
}
c.UserSpawner.home_limit = hub.home_limit
c.UserSpawner.profiles = list(hub.profiles)
if hub.stops_servers:
    c.JupyterHub.services.append(
        culling.service(hub.idle_timeout, hub.server_max_age, hub.profiles, os.environ)
    )
    c.JupyterHub.load_roles.append(culling.ROLE)
# Who scrapes: a service that does not run here. metrics/token.py gives it its token.
c.JupyterHub.services.append({"name": METRICS})
c.JupyterHub.load_roles.append({"name": METRICS, "services": [METRICS], "scopes": ["read:metrics"]})
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
        "scopes": ["list:users", "read:servers", "admin:server_state", "delete:servers"],
    }
)
c.JupyterHub.services.append(
    {
        "name": "people",
        "command": [sys.executable, "-I", "-m", "zhub", "people"],
        "environment": {
            name: os.environ[name]
            for name in os.environ
            if name[:5] == "ZHUB_" or name == "DOCKER_HOST"
        },
    }
)
c.JupyterHub.load_roles.append(
    {
        "name": "people",
        "services": ["people"],
        "scopes": list(people.SCOPES),
    }
)

# The site's own, which run elsewhere.
c.JupyterHub.services += services.declared(hub.services)
c.JupyterHub.load_roles += services.roles(hub.services)
services.take_tokens(hub.services.tokens_file)

# The site's own configuration last: it may change all of the above.
if hub.config_file:
    own_config.read(hub.config_file, c)
