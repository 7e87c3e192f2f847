"""A JupyterHub with a container for each user: reads the settings, declares, says where it is."""

from datetime import UTC, datetime

import pulumi
import pulumi_docker as docker

from components import checkout
from components.certificate import Certificate, CertificateArgs
from components.directory import USERS, Directory, DirectoryArgs
from components.hub import Hub, HubArgs
from components.images import Images, ImagesArgs, of_profile
from components.names import Names
from components.nodes import Nodes, NodesArgs
from components.settings import own_config
from components.settings.deployed import LOST_IMAGES
from components.settings.homes import OUTPUT as HOMES_PATHS
from components.settings.stack import load

settings = load()
for warning in settings.warnings(datetime.now(UTC)):
    pulumi.log.warn(warning)
checkout.settle_modes()

names = Names(settings.prefix)
engine = docker.Provider("engine", host=settings.engine.host, cert_path=settings.engine.cert_path)
docker_opts = pulumi.ResourceOptions(providers=[engine])
images = Images(
    "images",
    ImagesArgs(
        names=names,
        build=settings.build,
        separate_proxy=settings.separate_proxy,
        profiles=settings.users.profiles,
    ),
    docker_opts,
)
certificate = Certificate(
    "certificate",
    CertificateArgs(names=settings.certificate_names, brought=settings.key_pair),
)
ldap = settings.ldap
if ldap is None:
    directory = Directory(
        "directory",
        DirectoryArgs(names=names, build=settings.build, logs=settings.logs),
        docker_opts,
    )
    ldap = directory.ldap
    pulumi.export("demoUsers", directory.users)
    pulumi.export("directoryDigest", directory.image)
    pulumi.export("demoRoles", USERS)
hub = Hub(
    "hub",
    HubArgs(
        names=names,
        engine_socket=settings.engine.socket,
        engine_environment=settings.engine.environment,
        image=images.hub,
        notebook_image=images.notebook,
        filter_image=images.filter,
        proxy_image=images.proxy,
        key_pem=certificate.key_pem,
        certificate_pem=certificate.certificate_pem,
        mark_key=certificate.made_key_pem,
        bind_address=settings.bind_address,
        port=settings.port,
        base_path=settings.base_path,
        subdomain_host=settings.subdomain_host,
        hsts_seconds=settings.hsts_seconds,
        trusted_proxies=settings.trusted_proxies,
        ldap=ldap,
        admin_users=settings.admin_users,
        admin_access=settings.admin_access,
        token_max_age=settings.token_max_age,
        texts=settings.texts,
        users=settings.users,
        services=settings.services,
        own_config=settings.own_config,
        logs=settings.logs,
        memory=settings.hub_memory,
        protect=settings.protect,
        retain=settings.retain,
        profile_images=images.profiles,
        swarm=settings.swarm,
    ),
    docker_opts,
)
if settings.swarm:
    Nodes(
        "nodes",
        NodesArgs(
            names=names,
            swarm=settings.swarm,
            platform=settings.build.platform,
            engine_socket=settings.engine.socket,
            image=images.hub,
            notebook_image=images.notebook,
            filter_image=images.filter,
            profile_images=images.profiles,
            registry=settings.build.registry,
            users=settings.users,
            logs=settings.logs,
        ),
        docker_opts,
    )

pulumi.export("url", settings.url)
pulumi.export("basePath", settings.base_path)
pulumi.export("certificateFingerprint", certificate.fingerprint)
pulumi.export("certificateExpires", certificate.expires)
pulumi.export("prefix", settings.prefix)
pulumi.export("notebookDigest", images.notebook)
pulumi.export("hubDigest", images.hub)
pulumi.export("filterDigest", images.filter)
if images.proxy is not None:
    pulumi.export("proxyDigest", images.proxy.repo_digest)
for profile, digest in images.profiles.items():
    pulumi.export(f"{of_profile('profile', profile)}Digest", digest)
pulumi.export("container", hub.container)
if settings.build.lost:
    pulumi.export(LOST_IMAGES, dict(settings.build.lost))
if settings.own_config:
    pulumi.export(own_config.OUTPUT, settings.own_config.digest)
if settings.users.homes.output:
    pulumi.export(HOMES_PATHS, settings.users.homes.output)
pulumi.export("engine", settings.engine.host)
if settings.engine.id:
    # An address such as unix:///var/run/docker.sock is that of another engine on every machine.
    pulumi.export("engineId", settings.engine.id)
