FROM rust:1-bookworm AS build

# Pingora's zlib-ng is built by cmake, and Python lists what all is made of; the rust image has neither.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake python3 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build

# The dependencies in a layer of their own, built for an empty program: it stays until
# Cargo.toml or Cargo.lock changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/select.rs > benches/hot_path.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin robin

# COPY keeps times of change; without touch cargo could take the empty program for the newer one.
COPY src src
COPY static-site static-site
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin robin

# What it is made of, as CycloneDX has it.
COPY deploy/sbom deploy/sbom
RUN deploy/sbom/make > sbom.json


FROM debian:bookworm-slim

LABEL org.opencontainers.image.title="robin" \
      org.opencontainers.image.description="A load balancer and reverse proxy on Pingora, in nginx's place" \
      org.opencontainers.image.licenses="Apache-2.0"

# envsubst, for templates, and the user with the numbers that it has in nginx's image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gettext-base \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 101 nginx \
    && useradd --system --uid 101 --gid nginx --no-create-home --home-dir /nonexistent \
        --shell /bin/false --comment "robin, in nginx's place" nginx

# Everything lies where nginx's image has it: what derives from that one finds it here.
COPY deploy/image/ /
RUN mkdir -p /docker-entrypoint.d /etc/robin /run/robin /var/cache/nginx /var/log/nginx \
    && cp /etc/nginx/conf.d/default.conf /usr/share/nginx/default.conf \
    && ln -s /usr/local/bin/robin /usr/sbin/nginx \
    && ln -s /usr/local/bin/robin /usr/sbin/nginx-debug \
    && ln -s /dev/stdout /var/log/nginx/access.log \
    && ln -s /dev/stderr /var/log/nginx/error.log \
    && chown nginx:nginx /run/robin /var/cache/nginx /var/log/nginx
COPY --from=build /build/target/release/robin /usr/local/bin/robin
COPY --from=build /build/sbom.json /usr/share/robin/sbom.json

# Starts as root to bind port 80, then becomes the user nginx; started as any other user it stays that.
EXPOSE 80
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["robin", "health"]
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["nginx", "-g", "daemon off;"]
