"""The policy pack: `pulumi preview --policy-pack policy` fails where a policy is violated."""

from policies import POLICIES
from pulumi_policy import EnforcementLevel, PolicyPack

PolicyPack("zhub", POLICIES, enforcement_level=EnforcementLevel.MANDATORY)
