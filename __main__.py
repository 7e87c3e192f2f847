"""A JupyterHub with a container for each user: reads the settings, declares, says where it is."""

from datetime import UTC, datetime

import pulumi
import pulumi_docker as docker

from components import checkout, outputs
from components.certificate import Certificate, CertificateArgs
from components.directory import Directory, DirectoryArgs
from components.hub import Hub, HubArgs
from components.images import Images, ImagesArgs
from components.names import Names
from components.nodes import Nodes, NodesArgs
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
    CertificateArgs(names=settings.address.certificate_names, brought=settings.key_pair),
)
directory = None
ldap = settings.ldap
if ldap is None:
    directory = Directory(
        "directory",
        DirectoryArgs(names=names, build=settings.build, logs=settings.logs),
        docker_opts,
    )
    ldap = directory.ldap
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
        fingerprints=certificate.fingerprints,
        mark_key=certificate.made_key_pem,
        address=settings.address,
        ldap=ldap,
        login=settings.login,
        texts=settings.texts,
        users=settings.users,
        services=settings.services,
        own_config=settings.own_config,
        logs=settings.logs,
        memory=settings.hub_memory,
        less_memory=settings.hub_memory_lowered,
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

outputs.export(settings, images, certificate, directory, hub)
