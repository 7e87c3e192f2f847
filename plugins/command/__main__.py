"""Run the `command` plugin."""

from plugins.base import Provider
from plugins.command.local import Command
from plugins.serving import main

main(Provider("command", "1.2.1", [Command]))
