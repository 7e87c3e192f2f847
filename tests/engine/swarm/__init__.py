"""A stack whose users' servers run on the three engines of a swarm."""
