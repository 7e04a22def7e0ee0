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
COPY Makefile ./
COPY src-common src-common
COPY sidecar sidecar
COPY kubectl-guard kubectl-guard
COPY webhook webhook
RUN make -j"$(nproc)" VARIANT=release programs
COPY e2e/images/collect e2e/images/collect
RUN for image in guard init webhook; do e2e/images/collect $image /out/$image || exit 1; done

FROM scratch AS webhook
COPY --from=build /out/webhook /
USER 65532:65532
ENTRYPOINT ["/chaperone-webhook"]

FROM scratch AS init
COPY --from=build /out/init /
ENTRYPOINT ["/chaperone-init"]

FROM scratch AS guard
COPY --from=build /out/guard /
USER 65532:65532
ENTRYPOINT ["/chaperone-sidecar"]
