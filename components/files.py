"""A container that never runs and only puts files into a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pulumi
import pulumi_docker as docker

from components.names import Names

#: Where hub and proxy find the files, inside their containers.
FOLDER = "/certs"

#: MiB, for a container that never runs.
MEMORY = 16

#: Number of the group that hub and proxy share; it may not read the files.
GROUP = "1000"


#: Content of a file that no setting has a value for. It takes the place of the one before: files
#: that are only left out stay in the volume, and with them a password that was taken away.
UNUSED = "unused\n"


class File(NamedTuple):
    """A file for one reader."""

    content: pulumi.Input[str]
    owner: str
    """Number of the only user who may read it."""


class Contents(NamedTuple):
    """What the container carries."""

    files: Mapping[str, File]
    """By their names."""
    labels: Mapping[str, pulumi.Input[str]]
    """What everybody may see of them who may inspect containers."""


def carrier(
    names: Names,
    image: pulumi.Input[str],
    volume: docker.Volume,
    contents: Contents,
    opts: pulumi.ResourceOptions,
) -> docker.Container:
    """Declare the container.

    The provider cannot upload into the containers that read the files, whose file systems are
    read-only.
    """
    return docker.Container(
        "files",
        name=names("files"),
        image=image,
        labels=[
            *names.labels("files"),
            *(
                docker.ContainerLabelArgs(label=name, value=text)
                for name, text in contents.labels.items()
            ),
        ],
        start=False,
        must_run=False,
        # Should somebody start it by hand, it ends at once, and could do nothing until then.
        entrypoints=["/bin/false"],
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true"],
        memory=MEMORY,
        memory_swap=MEMORY,
        network_mode="none",
        log_driver="none",
        volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=FOLDER)],
        uploads=[
            docker.ContainerUploadArgs(
                file=f"{FOLDER}/{name}",
                content=file.content,
                permissions="0600",
                owner=file.owner,
                group=GROUP,
            )
            for name, file in contents.files.items()
        ],
        opts=opts,
    )
