"""What a hostile user's server, a stranger and a captured hub try on a real stack; all of it fails.

Every attack is bounded and ends by itself, and is made able to succeed: the same probe, where
nothing forbids it, shows what success looks like.
"""
