# shellcheck shell=sh
# Lab's terminals are login shells, whose PATH /etc/profile has just reset. The user's own programs
# come last, so that none of them stands in for one of the image's.
PATH=/opt/jupyter/bin:$PATH:$HOME/.local/bin
