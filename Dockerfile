# One recipe for every image: docker build --build-arg SERVICE=gateway --tag trunkline-gateway:0.1.0 .
# SERVICE is gateway, worker, transcripts (which also migrates) or simulators. docs/compose.md has the commands.
#
# The image runs as user 10001 with a read-only root file system and writes nothing but, if asked to, /tmp.

# A mirror of yours, or the same by its digest: --build-arg PYTHON_IMAGE=registry.example.com/python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
ARG SERVICE=gateway

FROM ${PYTHON_IMAGE} AS build
# The Makefile's.
ARG UV_VERSION=0.13.9
# Any version strips.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/trunkline \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_NO_PROGRESS=1
WORKDIR /src
ARG SERVICE
# Of the service's package: `otel` lets a worker send traces.
ARG EXTRA=""
# What others wrote changes with the lock only: this step is done again only then.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-workspace \
      --package trunkline-common --package "trunkline-${SERVICE}" ${EXTRA:+--extra "${EXTRA}"}
COPY . .
# trunkline-common brings the command, which the simulators do not depend on.
RUN uv sync --locked --no-dev --no-editable \
      --package trunkline-common --package "trunkline-${SERVICE}" ${EXTRA:+--extra "${EXTRA}"}
# A third of the wheels is debug symbols, tests and what only a compiler reads; of Twilio's library, bytecode of all its
# products. Not in *.libs: what auditwheel patched does not load any more once it is stripped.
WORKDIR /opt/trunkline/lib
RUN find . -type d -name tests -prune -exec rm -r {} + \
 && find . -type d -path '*/twilio/rest/*/__pycache__' -prune -exec rm -r {} + \
 && find . -type f -regex '.*\.\(a\|c\|h\|cpp\|pyx\|pxd\|pyi\)' -delete \
 && find . -type f -name '*.so' -not -path '*.libs/*' -exec strip --strip-unneeded {} +

FROM ${PYTHON_IMAGE} AS system
ENV PYTHONDONTWRITEBYTECODE=1
RUN groupadd --system --gid 10001 trunkline \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin trunkline \
 && pip uninstall --yes --quiet --root-user-action=ignore pip \
 && stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf "$stdlib/ensurepip" "$stdlib/idlelib" "$stdlib/pydoc_data" "$stdlib/tkinter" "$stdlib/turtledemo"

# One layer, the same for every service: what was removed would otherwise still be in the layer below.
FROM scratch AS runtime
# hadolint ignore=DL3067
COPY --from=system / /
ENV PATH=/opt/trunkline/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0
WORKDIR /
COPY --from=build /opt/trunkline /opt/trunkline
COPY LICENSE /usr/share/doc/trunkline/LICENSE
# The base image brings its library without bytecode: what our commands and the health check import of it is compiled once.
RUN PYTHONDONTWRITEBYTECODE="" trunkline --help > /dev/null \
 && PYTHONDONTWRITEBYTECODE="" python -ISc 'import urllib.request'
USER 10001:10001
# Exec form: trunkline is process 1 and gets the SIGTERM that drains it.
ENTRYPOINT ["trunkline"]

# Health is /livez: whoever restarts what is unhealthy must not restart a service that waits for NATS, or drains.
FROM runtime AS run-gateway
ENV PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-ISc", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=2)"]
CMD ["gateway"]

FROM runtime AS run-worker
ENV METRICS_PORT=9101
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-ISc", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"METRICS_PORT\"]}/livez', timeout=2)"]
CMD ["worker"]

FROM runtime AS run-transcripts
ENV METRICS_PORT=9102
EXPOSE 9102
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-ISc", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"METRICS_PORT\"]}/livez', timeout=2)"]
CMD ["transcripts"]

FROM runtime AS run-simulators
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-ISc", "import socket; socket.create_connection(('127.0.0.1', 8081), 2)"]
CMD ["sim-openai", "--host", "0.0.0.0", "--port", "8081"]

# hadolint ignore=DL3006
FROM run-${SERVICE}
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="trunkline-${SERVICE}" \
      org.opencontainers.image.description="Trunkline: phone calls answered by a speech-to-speech model (${SERVICE})" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
