#!/bin/sh
# configure.sh OPTION...: configure the unpacked packages, with these options of dpkg, and remove
# what is left of it.
set -eu
DEBIAN_FRONTEND=noninteractive dpkg "$@" --configure --pending
rm -rf /var/cache/debconf/*-old /var/cache/ldconfig/* /var/lib/dpkg/*-old /var/log/*

settings=/etc/matplotlibrc
glyphs='font.family: sans-serif, WenQuanYi Micro Hei'
if [ -e $settings ] && [ -e /usr/share/fonts/truetype/wqy/wqy-microhei.ttc ] &&
    ! grep -qxF "$glyphs" $settings; then
    echo "$glyphs" >>$settings
fi
