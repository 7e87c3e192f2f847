"""Config of whole stacks, as operators set it."""

from __future__ import annotations

REGISTRY_PASSWORD = "correct horse battery staple"
LDAP_PASSWORD = "grün & blau"

#: With an engine elsewhere: nothing on this machine is looked at.
REMOTE = {"docker:host": "ssh://ops@z.example.com"}
DEMO = REMOTE | {"zhub:demoDirectory": "true", "zhub:protect": "false"}
SITE = REMOTE | {
    "zhub:hostname": "hub.example.com",
    "zhub:ldapServer": "ldap1.example.com, ldap2.example.com",
    "zhub:ldapTls": "ldaps",
    "zhub:ldapBindDn": "racfid=HUB,profiletype=user,o=example",
    "zhub:ldapBindPassword": LDAP_PASSWORD,
    "zhub:ldapDnTemplates": '["racfid={username},profiletype=user,o=example"]',
    "zhub:ldapAdminGroups": '["cn=admins,o=example"]',
    "zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]',
    "zhub:adminUsers": '["JDOE"]',
    "zhub:userMemory": "4G",
    "zhub:hubMemory": "512M",
}
