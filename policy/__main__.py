"""The policy pack: `pulumi preview --policy-pack policy` fails where a policy is violated."""

from typing import Any

import pulumi.runtime
from policies import POLICIES, PREFIX
from pulumi_policy import EnforcementLevel, PolicyPack
from pulumi_policy.policy import _PolicyAnalyzerServicer as Analyzer

configure_stack = Analyzer.ConfigureStack


def configure(self: Analyzer, request: Any, context: Any) -> Any:
    """Take the one setting that policies go by; the SDK ignores the config that it is told."""
    if PREFIX in request.config:
        pulumi.runtime.set_config(PREFIX, request.config[PREFIX])
    return configure_stack(self, request, context)


# No public way leads there.
Analyzer.ConfigureStack = configure  # type: ignore[method-assign]

PolicyPack("zhub", POLICIES, enforcement_level=EnforcementLevel.MANDATORY)
