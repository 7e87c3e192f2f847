# shellcheck shell=sh
# Lab's terminals are login shells, and /etc/profile has just reset PATH. The user's own programs
# come last, so that none of them replaces a program of the image.
PATH=/opt/jupyter/bin:$PATH:$HOME/.local/bin
