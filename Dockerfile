# The image of millrace: one binary with the libraries that it is linked with, the trained models, and a configuration to start
# from. There is no shell in it, nor anything else of a system.
#
#   docker build -t millrace .
#   docker run --rm -p 8080:8080 millrace
#   docker build --build-arg ONNXRUNTIME=1.32.0 -t millrace .     with ONNX Runtime as the second engine
#
# It builds with BuildKit and with the classic builder alike, so there are no cache mounts and no here-documents.

# Which version of ONNX Runtime to put into the image; none without it.
ARG ONNXRUNTIME

# The library, out of its wheel for Python; nothing where no version is asked for.
FROM debian:bookworm-slim AS onnxruntime
ARG ONNXRUNTIME
RUN mkdir -p /system/usr/local/lib \
    && if [ -n "$ONNXRUNTIME" ]; then \
        apt-get update \
        && apt-get install -y --no-install-recommends ca-certificates python3-pip \
        && pip download --no-deps --only-binary :all: --dest /wheel "onnxruntime==$ONNXRUNTIME" \
        && python3 -m zipfile -e /wheel/*.whl /unpacked \
        && cp /unpacked/onnxruntime/capi/libonnxruntime.so.* /system/usr/local/lib/libonnxruntime.so \
        && ldd /system/usr/local/lib/libonnxruntime.so | grep -o '/[^ ]*' \
            | xargs cp --parents --dereference --target-directory /system; \
    fi

# The manifest without its tests and benches, whose files are not here.
FROM debian:bookworm-slim AS manifest
COPY Cargo.toml Cargo.lock /
RUN sed -Ei '/^\[\[(test|bench)\]\]/,/^$/d' Cargo.toml

FROM rust:1-slim-bookworm AS build
WORKDIR /build

# The dependencies, as a layer of their own, with sources of nothing: it is made anew only when they change.
COPY --from=manifest /Cargo.toml /Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked --bin millrace

COPY src src
# Copied files keep their time of change, which may lie before that of the stubs; cargo goes by it.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin millrace

# What it needs of a system: the libraries that it is linked with, the order in which names of hosts are looked up, /tmp.
RUN mkdir -p /system/etc /system/tmp \
    && chmod 1777 /system/tmp \
    && echo 'hosts: files dns' >/system/etc/nsswitch.conf \
    && ldd target/release/millrace | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory /system

FROM scratch AS base
COPY --from=build /system /

FROM base AS base-with-onnxruntime
COPY --from=onnxruntime /system /
ENV MILLRACE_WORKER__ONNXRUNTIME_LIBRARY=/usr/local/lib/libonnxruntime.so

FROM base${ONNXRUNTIME:+-with-onnxruntime}
LABEL org.opencontainers.image.title="millrace" \
      org.opencontainers.image.description="Serves trained models behind a load-balancing gateway" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
WORKDIR /srv/millrace
COPY config /etc/millrace
COPY models models
COPY --from=build /build/target/release/millrace /usr/local/bin/millrace

# A number, so that Kubernetes' runAsNonRoot can see that it is not root. Nothing in the image belongs to it: what it
# serves it cannot change.
USER 10001:10001
EXPOSE 8080 9000
# Fits `serve`, `gateway` and `worker` alike, where they listen by default.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["millrace", "health"]
ENTRYPOINT ["millrace"]
CMD ["serve", "--listen", "0.0.0.0:8080"]
