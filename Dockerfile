FROM rust:1-bookworm AS build

# Pingora's zlib-ng is built by cmake, which the rust image does not have.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build

# The dependencies in a layer of their own, built for an empty program: it stays until
# Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs > benches/select.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin robin

# COPY keeps times of change; without touch cargo could take the empty program for the newer one.
COPY src src
COPY static-site static-site
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin robin


FROM debian:bookworm-slim

RUN useradd --system --no-create-home --shell /usr/sbin/nologin robin
COPY --from=build /build/target/release/robin /usr/local/bin/robin

LABEL org.opencontainers.image.title="robin" \
      org.opencontainers.image.description="A load balancer and reverse proxy on Pingora" \
      org.opencontainers.image.licenses="Apache-2.0"

# Starts as root to bind port 80, then becomes the user robin; started as any other user it stays that.
# The configuration is /etc/robin/robin.yaml, which is mounted.
EXPOSE 80
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["robin", "health"]
CMD ["robin"]
