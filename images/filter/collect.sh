#!/bin/sh
# collect.sh FOLDER PROGRAM...: copy programs and the libraries they need into a folder, each to its
# own path, and record there which Debian packages the files come from.
set -eu
folder=$1
shift
files=/build/files packages=/build/packages

for program; do
    path=$(command -v "$program")
    libraries=$(ldd "$path" | grep -o '/[^ ]*')
    for file in "$path" $libraries; do
        mkdir -p "$folder${file%/*}"
        # -L copies the file, not a link: the folder would lack the link's target.
        cp -L "$file" "$folder$file"
        readlink -f "$file"
    done
done >$files

# In the place where inventory tools look for them, as in the other images.
while read -r file; do
    # dpkg still lists some files under their path from before /lib and /usr/lib were merged.
    dpkg-query --search "$file" 2>/dev/null || dpkg-query --search "${file#/usr}"
done <$files >$packages
mkdir -p "$folder/var/lib/dpkg" "$folder/usr/lib"
cut -d: -f1 $packages | sort -u | xargs dpkg-query --status >"$folder/var/lib/dpkg/status"
cp /usr/lib/os-release "$folder/usr/lib/"
