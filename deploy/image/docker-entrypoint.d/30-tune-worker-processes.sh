#!/bin/sh
# With NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE set, nginx.conf takes as many workers as the container
# may use cores. robin's `auto` heeds the container's limits by itself.
set -e

file=/etc/nginx/nginx.conf
if [ -n "${NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE:-}" ]; then
    if ! sed -i 's/^\( *worker_processes\) .*;/\1 auto;/' "$file" 2>/dev/null; then
        echo "$(basename "$0"): $file cannot be written"
    fi
fi
