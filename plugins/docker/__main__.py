"""Run the `docker` plugin."""

from plugins.docker.provider import DockerProvider
from plugins.serving import main

main(DockerProvider())
