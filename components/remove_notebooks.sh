#!/bin/sh
# Remove the containers, services and networks a hub made for its users, of which Pulumi knows
# nothing. Their volumes stay. In the environment: ZHUB_PREFIX, DOCKER_HOST.
set -eu

ours="label=zhub.stack=$ZHUB_PREFIX"
# Ends the script when the engine does not answer, and says which one. `docker info` of 20.10 does not.
docker version --format '{{.Server.Version}}' >/dev/null
# Other engines know no services.
manager=$(docker info --format '{{.Swarm.ControlAvailable}}')
services=

# Look for what is left.
look() {
    if [ "$manager" = true ]; then
        services=$(docker service ls --quiet --filter "$ours" --filter label=zhub.role=notebook)
    fi
    containers=$(docker ps --all --quiet --filter "$ours" --filter label=zhub.role=notebook)
    helpers=$(docker ps --all --quiet --filter "$ours" --filter label=zhub.role=guard-helper)
    networks=$(docker network ls --quiet --filter "$ours" --filter label=zhub.role=user-network)
}

remove() {
    # Several ids in each, so without quotes. Services first: they would only be without containers.
    # shellcheck disable=SC2086
    [ -z "$services" ] || docker service rm $services
    # shellcheck disable=SC2086
    [ -z "$containers$helpers" ] || docker rm --force --volumes $containers $helpers
    # shellcheck disable=SC2086
    [ -z "$networks" ] || docker network rm $networks
}

# Servers may end meanwhile: the engine then refuses to remove what it is removing already, and does
# not find what is gone. So only what is still there after many attempts is an error.
attempts=30
look
while [ -n "$services$containers$helpers$networks" ]; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
        remove
        exit
    fi
    remove 2>/dev/null || sleep 1
    look
done
