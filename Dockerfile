# The images, for people with a container engine:
#   docker build --target guard -t chaperone/guard:0.1.0 .      (targets: guard, init, webhook)
# e2e/images/build makes the same without one. Debian 13 for its SQL parser, libssh and libmicrohttpd.
FROM debian:trixie-slim AS build
COPY tests/support/packages /tmp/packages
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates iptables \
    $(awk '$1 == "build" { split($2, names, "|"); print names[1] }' /tmp/packages) \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j"$(nproc)" VARIANT=release programs

FROM build AS webhook-files
RUN e2e/images/collect webhook /out
FROM scratch AS webhook
COPY --from=webhook-files /out /
USER 65532:65532
ENTRYPOINT ["/chaperone-webhook"]

FROM build AS init-files
RUN e2e/images/collect init /out
FROM scratch AS init
COPY --from=init-files /out /
ENTRYPOINT ["/chaperone-init"]

FROM build AS guard-files
RUN e2e/images/collect guard /out
FROM scratch AS guard
COPY --from=guard-files /out /
USER 65532:65532
ENTRYPOINT ["/chaperone-sidecar"]
