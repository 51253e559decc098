#!/bin/sh
# Has the site that comes with the image listen on IPv6 too, where there is IPv6 and the file is still
# the one that came.
set -e

file=/etc/nginx/conf.d/default.conf
log() {
    if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then
        echo "$(basename "$0"): $*"
    fi
}

if [ ! -f /proc/net/if_inet6 ]; then
    log "there is no IPv6 here"
elif [ ! -f "$file" ]; then
    log "$file is not there"
elif ! cmp -s "$file" /usr/share/nginx/default.conf; then
    log "$file is not the one that came with the image"
elif ! touch "$file" 2>/dev/null; then
    log "$file cannot be written"
elif sed -i 's/^\( *\)listen  *80;/&\n\1listen       [::]:80;/' "$file" 2>/dev/null; then
    log "$file listens on IPv6 now"
else
    log "$file cannot be replaced"
fi
