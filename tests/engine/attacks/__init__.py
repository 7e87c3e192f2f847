"""Attacks by a hostile user's server, a stranger and a captured hub on a real stack; all must fail.

Every attack is bounded and ends by itself. Each is shown to be able to succeed: the same probe is
also run where nothing forbids it.
"""
