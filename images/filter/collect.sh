#!/bin/sh
# collect.sh FOLDER PROGRAM...: copy programs into a folder, each to its own path, with the libraries
# that it needs.
set -eu
folder=$1
shift

for program; do
    path=$(command -v "$program")
    libraries=$(ldd "$path" | grep -o '/[^ ]*')
    for file in "$path" $libraries; do
        mkdir -p "$folder${file%/*}"
        # The file itself: where Debian has a link, the folder has no target for it.
        cp -L "$file" "$folder$file"
    done
done
