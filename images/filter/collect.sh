#!/bin/sh
# collect.sh FOLDER PROGRAM...: copy programs into a folder, each to its own path, with the libraries
# that it needs, and write down there which Debian packages all of it is from.
set -eu
folder=$1
shift
files=/build/files packages=/build/packages

for program; do
    path=$(command -v "$program")
    libraries=$(ldd "$path" | grep -o '/[^ ]*')
    for file in "$path" $libraries; do
        mkdir -p "$folder${file%/*}"
        # The file itself: where Debian has a link, the folder has no target for it.
        cp -L "$file" "$folder$file"
        readlink -f "$file"
    done
done >$files

# Where an inventory of the image looks for them, as in the other images.
while read -r file; do
    # dpkg knows some files by where they were before /lib and /usr/lib became one.
    dpkg-query --search "$file" 2>/dev/null || dpkg-query --search "${file#/usr}"
done <$files >$packages
mkdir -p "$folder/var/lib/dpkg" "$folder/usr/lib"
cut -d: -f1 $packages | sort -u | xargs dpkg-query --status >"$folder/var/lib/dpkg/status"
cp /usr/lib/os-release "$folder/usr/lib/"
