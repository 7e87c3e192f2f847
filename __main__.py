"""A JupyterHub with a container for each user: reads the settings, declares, says where it is."""

from datetime import UTC, datetime

import pulumi

from components import settings
from components.certificate import Certificate, CertificateArgs
from components.directory import USERS, Directory, DirectoryArgs
from components.hub import Hub, HubArgs
from components.images import Images, ImagesArgs

stack = settings.load()
for warning in stack.warnings(datetime.now(UTC)):
    pulumi.log.warn(warning)

on_engine = pulumi.ResourceOptions(providers=[stack.engine.provider()])
images = Images("images", ImagesArgs(build=stack.build), on_engine)
certificate = Certificate(
    "certificate",
    CertificateArgs(names=stack.certificate_names, brought=stack.key_pair, protect=stack.protect),
)
ldap = stack.ldap
if ldap is None:
    directory = Directory(
        "directory", DirectoryArgs(names=stack.names, build=stack.build), on_engine
    )
    ldap = directory.ldap
    pulumi.export("demoUsers", directory.users)
    pulumi.export("demoRoles", USERS)
hub = Hub(
    "hub",
    HubArgs(
        names=stack.names,
        engine=stack.engine,
        image=images.hub,
        notebook_image=images.notebook,
        filter_image=images.filter,
        certificate=certificate,
        bind_address=stack.bind_address,
        port=stack.port,
        subdomain_host=stack.subdomain_host,
        hsts_seconds=stack.hsts_seconds,
        trusted_proxies=stack.trusted_proxies,
        ldap=ldap,
        admin_users=stack.admin_users,
        admin_access=stack.admin_access,
        token_max_age=stack.token_max_age,
        users=stack.users,
        memory=stack.hub_memory,
        protect=stack.protect,
    ),
    on_engine,
)

pulumi.export("url", stack.url)
pulumi.export("certificateFingerprint", certificate.fingerprint)
pulumi.export("notebookDigest", images.notebook)
pulumi.export("hubDigest", images.hub)
pulumi.export("container", hub.container)
pulumi.export("engine", stack.engine.host)
