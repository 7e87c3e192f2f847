"""The policy pack: `pulumi preview --policy-pack policy` fails where a policy is violated."""

from typing import Any

from own_settings import CONFIG, KEYS
from policies import POLICIES, PREFIX
from pulumi_policy import EnforcementLevel, PolicyPack
from pulumi_policy.policy import _PolicyAnalyzerServicer as Analyzer

configure_stack = Analyzer.ConfigureStack


def configure(self: Analyzer, request: Any, context: Any) -> Any:
    """Take the settings that policies go by; the SDK ignores the config that the CLI sends."""
    CONFIG.update({key: request.config[key] for key in {PREFIX, *KEYS} if key in request.config})
    return configure_stack(self, request, context)


# No public way leads there.
Analyzer.ConfigureStack = configure  # type: ignore[method-assign]

PolicyPack("zhub", POLICIES, enforcement_level=EnforcementLevel.MANDATORY)
