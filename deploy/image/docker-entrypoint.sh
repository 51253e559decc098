#!/bin/sh
# Starts what the container is told to run. Before nginx (or robin) everything in
# /docker-entrypoint.d is done, in the order of the names: *.sh is run, *.envsh is read into this
# shell, so that what it exports reaches those after it and the server.
#
# A container that has /etc/robin/robin.yaml and was given no command of its own serves that.
set -e

log() {
    if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then
        echo "$0: $*"
    fi
}

if [ "$#" -eq 3 ] && [ "$1 $2 $3" = "nginx -g daemon off;" ] && [ -e /etc/robin/robin.yaml ]; then
    set -- robin
fi

case "$1" in
nginx | nginx-debug | robin)
    # A file whose name has a blank is one file.
    IFS='
'
    for file in $(find /docker-entrypoint.d -mindepth 1 -maxdepth 1 -follow -type f 2>/dev/null | sort -V); do
        unset IFS
        case "$file" in
        *.envsh | *.sh)
            if [ ! -x "$file" ]; then
                log "ignoring $file, it is not executable"
                continue
            fi
            ;;
        esac
        case "$file" in
        *.envsh)
            log "reading $file"
            . "$file"
            ;;
        *.sh)
            log "running $file"
            "$file"
            ;;
        *) log "ignoring $file" ;;
        esac
    done
    unset IFS
    log "starting $1"
    ;;
esac

exec "$@"
