# The hub that the benchmarks compare with. Its directory and its notebook image come as options:
# --LDAPAuthenticator.server_address=… --DockerSpawner.image=…
import socket

c.JupyterHub.ssl_cert = "/certs/hub.crt"
c.JupyterHub.ssl_key = "/certs/hub.key"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = socket.gethostbyname(socket.gethostname())
c.JupyterHub.authenticator_class = "ldap"
c.LDAPAuthenticator.tls_strategy = "insecure"
c.LDAPAuthenticator.bind_dn_template = ["uid={username},ou=people,dc=example,dc=org"]
c.LDAPAuthenticator.allow_all = True
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.network_name = "bridge"
c.DockerSpawner.remove = True
c.DockerSpawner.notebook_dir = "/home/jovyan"
c.DockerSpawner.volumes = {"zhub-bench-user-{username}": "/home/jovyan"}
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
