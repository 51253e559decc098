#!/bin/sh
# Fills the templates from the environment: DIR/a/b.conf.template becomes OUTPUT/a/b.conf with each
# ${NAME} replaced that the environment defines. Other variables, nginx's own, stay.
#
#   NGINX_ENVSUBST_TEMPLATE_DIR     where templates are        /etc/nginx/templates
#   NGINX_ENVSUBST_TEMPLATE_SUFFIX  what their names end in    .template
#   NGINX_ENVSUBST_OUTPUT_DIR       where the results go       /etc/nginx/conf.d
#   NGINX_ENVSUBST_FILTER           a pattern that names must match   (all do)
set -e

templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
export NGINX_ENVSUBST_FILTER="${NGINX_ENVSUBST_FILTER:-}"

log() {
    if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then
        echo "$(basename "$0"): $*"
    fi
}

if [ ! -d "$templates" ]; then
    exit 0
fi
if [ ! -w "$output" ]; then
    log "ERROR: there are templates in $templates, but $output cannot be written"
    exit 0
fi

defined=$(
    awk 'BEGIN {
        for (name in ENVIRON)
            if (name ~ /^[A-Za-z_][A-Za-z0-9_]*$/ && name ~ ENVIRON["NGINX_ENVSUBST_FILTER"])
                printf "${%s} ", name
    }'
)
find "$templates" -follow -type f -name "*$suffix" -print | while read -r template; do
    relative=${template#"$templates/"}
    result=$output/${relative%"$suffix"}
    mkdir -p "$(dirname "$result")"
    log "filling $template into $result"
    envsubst "$defined" <"$template" >"$result"
done
