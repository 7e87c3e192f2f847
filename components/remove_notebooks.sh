#!/bin/sh
# Remove the containers and networks a hub made for its users, of which Pulumi knows nothing. Their
# volumes stay. In the environment: ZHUB_PREFIX, DOCKER_HOST.
set -eu

ours="label=zhub.stack=$ZHUB_PREFIX"
containers=$(docker ps --all --quiet --filter "$ours" --filter label=zhub.role=notebook)
helpers=$(docker ps --all --quiet --filter "$ours" --filter label=zhub.role=guard-helper)
networks=$(docker network ls --quiet --filter "$ours" --filter label=zhub.role=user-network)
# Several ids in each, so without quotes.
# shellcheck disable=SC2086
[ -z "$containers$helpers" ] || docker rm --force --volumes $containers $helpers
# shellcheck disable=SC2086
[ -z "$networks" ] || docker network rm $networks
