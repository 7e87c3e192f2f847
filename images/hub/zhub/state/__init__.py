"""The hub's database on its volume, and the upgrade of databases of older releases."""
