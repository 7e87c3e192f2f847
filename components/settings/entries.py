"""All settings there are, in the order of Pulumi.yaml and docs/configuration.md."""

from __future__ import annotations

from components.settings import (
    address,
    build,
    engine,
    folders,
    homes,
    hub,
    keypair,
    ldap_entries,
    login,
    logs,
    own_config,
    prefix,
    profiles,
    services,
    site,
    surroundings,
    swarm,
    users,
)
from components.settings.setting import Setting

#: Sections of Pulumi.yaml, with the modules whose entries they hold. A new entry in one of these
#: modules needs nothing else to be a setting.
MODULES = {
    "Where the hub is reached": (address,),
    "Key and certificate: both, or neither, and Pulumi makes them": (keypair,),
    "Who may log in: the site's directory, or a demo one": (ldap_entries, login),
    "What users read on the hub's pages": (site,),
    "What a user's server gets": (users, homes, surroundings, folders, profiles),
    "What the hub gets": (hub, own_config),
    "Programs that use the hub's API, and further rights": (services,),
    "Where logs go, and what is in them": (logs,),
    "Which engine it all runs on, and by which names": (engine, swarm, prefix),
    "How the images are built": (build,),
}

SECTIONS: dict[str, tuple[Setting[object], ...]] = {
    title: tuple(
        found for module in modules for found in vars(module).values() if isinstance(found, Setting)
    )
    for title, modules in MODULES.items()
}

SETTINGS = tuple(setting for section in SECTIONS.values() for setting in section)
