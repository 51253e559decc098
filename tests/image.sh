#!/usr/bin/env bash
# Whether an image of robin can stand where nginx's stood: what a container of it does when it is
# started, mounted, restricted and derived from in the ways that compose files do.
#
#   tests/image.sh [IMAGE]     default: robin, built by `docker build -t robin .`
#
# Needs docker and curl, and no network. Prints a line for each question; exit code 1 if one is
# answered wrongly.
set -u

image=${1:-robin}
work=$(mktemp -d)
containers=()
failed=0
trap 'docker rm -f "${containers[@]}" >/dev/null 2>&1; docker rmi -f "robin-derived-$$" >/dev/null 2>&1; rm -rf "$work"' EXIT
docker image inspect "$image" >/dev/null || exit 2

# started ARGUMENTS: starts a container and waits until something answers at port 80.
started() {
    id=$(docker run -d "$@") || return
    containers+=("$id")
    address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$id")
    for _ in $(seq 100); do
        curl -s -m 2 -o /dev/null "http://$address/" && return
        [ "$(docker inspect -f '{{.State.Running}}' "$id")" = true ] || return
        sleep 0.1
    done
}

# is WHAT EXPECTED ACTUAL
is() {
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: expected $2, found $3"
        docker logs "$id" 2>&1 | sed 's/^/        /'
        failed=1
    fi
}

status() { curl -s -m 5 -o /dev/null -w '%{http_code}' "http://$address$1"; }
page() { curl -s -m 5 "http://$address$1"; }
said() { docker logs "$id" 2>&1 | grep -c -F -- "$1"; }
stopped() {
    docker stop -t 9 "$id" >/dev/null
    docker inspect -f '{{.State.ExitCode}}' "$id"
}

answer() { printf 'server { listen 80; location / { return 200 "%s\\n"; } }\n' "$1"; }
answer mounted >"$work/site.conf"
mkdir "$work/templates" "$work/entry" "$work/html"
# shellcheck disable=SC2016
printf 'server { listen ${PORT}; location / { return 200 "${NAME} $uri\\n"; } }\n' >"$work/templates/default.conf.template"
printf 'export NAME=from-envsh\n' >"$work/entry/05-name.envsh"
printf '#!/bin/sh\necho "a script sees $NAME"\n' >"$work/entry/06-script.sh"
printf '#!/bin/sh\necho "never run"\n' >"$work/entry/07-not-executable.sh"
chmod 755 "$work/entry/05-name.envsh" "$work/entry/06-script.sh"
echo hello >"$work/html/index.html"
{
    echo 'worker_processes 1; events { } http {'
    answer whole
    echo '}'
} >"$work/nginx.conf"
printf 'listen: 80\nroutes: { /: "127.0.0.1:9" }\n' >"$work/robin.yaml"
chmod -R a+rX "$work"

started "$image"
is "it welcomes" 200 "$(status /)"
is "it has a page for errors" 200 "$(status /50x.html)"
is "it is healthy" 0 "$(docker exec "$id" robin health >/dev/null 2>&1; echo $?)"
is "its workers are the user nginx" 101 "$(docker exec "$id" sh -c 'awk "/^Uid:/ { print \$2 }" /proc/1/status')"
# shellcheck disable=SC2016
is "its program has 15 MB at most" 0 "$(docker exec "$id" sh -c '[ "$(stat -c %s /usr/local/bin/robin)" -le 15000000 ]'; echo $?)"
is "its requests are on stdout" 1 "$(docker logs "$id" 2>/dev/null | grep -c 'GET /50x.html')"
is "nginx -t is content" 0 "$(docker exec "$id" nginx -t >/dev/null 2>&1; echo $?)"
docker exec "$id" sh -c "echo 'server { listen 80; return 204; }' >/etc/nginx/conf.d/default.conf && nginx -s reload"
for _ in $(seq 50); do [ "$(status /)" = 204 ] && break; sleep 0.1; done
is "nginx -s reload takes a new configuration" 204 "$(status /)"
is "it ends with 0" 0 "$(stopped)"

started -v "$work/html:/usr/share/nginx/html:ro" "$image"
is "it serves a mounted folder" hello "$(page /)"

started -v "$work/site.conf:/etc/nginx/conf.d/default.conf:ro" "$image"
is "it serves a mounted site" mounted "$(page /)"

started --read-only --cap-drop ALL --cap-add NET_BIND_SERVICE --cap-add SETUID --cap-add SETGID \
    --security-opt no-new-privileges:true -v "$work/nginx.conf:/etc/nginx/nginx.conf:ro" "$image"
is "it serves a whole nginx.conf with a read-only root and hardly a capability" whole "$(page /)"
is "it ends with 0" 0 "$(stopped)"

started --read-only --user 1234:1234 -v "$work/site.conf:/etc/nginx/conf.d/default.conf:ro" "$image"
is "it serves as somebody with a read-only root" mounted "$(page /)"

started -e PORT=80 -v "$work/templates:/etc/nginx/templates:ro" \
    -v "$work/entry/05-name.envsh:/docker-entrypoint.d/05-name.envsh:ro" \
    -v "$work/entry/06-script.sh:/docker-entrypoint.d/06-script.sh:ro" \
    -v "$work/entry/07-not-executable.sh:/docker-entrypoint.d/07-not-executable.sh:ro" "$image"
is "templates are filled, and nginx's variables stay" "from-envsh /x" "$(page /x)"
is "scripts run" 1 "$(said 'a script sees from-envsh')"
is "what cannot be executed does not" 0 "$(said 'never run')"

started -e NGINX_ENTRYPOINT_QUIET_LOGS=1 "$image"
is "its start can be quiet" 0 "$(said entrypoint)"

started -v "$work/robin.yaml:/etc/robin/robin.yaml:ro" "$image"
is "it serves robin.yaml where there is one" 502 "$(status /)"
is "and is healthy" 0 "$(docker exec "$id" robin health >/dev/null 2>&1; echo $?)"

started -v "$work/nginx.conf:/srv/my.conf:ro" "$image" nginx -c /srv/my.conf -g 'daemon off;'
is "it takes a command of nginx's" whole "$(page /)"
is "and is healthy" 0 "$(docker exec "$id" robin health >/dev/null 2>&1; echo $?)"

is "it runs what it is told to" robin "$(docker run --rm "$image" echo robin)"

cat >"$work/Dockerfile" <<EOF
FROM $image
RUN rm /etc/nginx/conf.d/default.conf
COPY site.conf /etc/nginx/conf.d/
EXPOSE 80
CMD ["nginx", "-g", "daemon off;"]
EOF
docker build -q -t "robin-derived-$$" "$work" >/dev/null 2>&1
started "robin-derived-$$"
is "it can be derived from as nginx's is" mounted "$(page /)"

exit "$failed"
