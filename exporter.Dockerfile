# What the exporter imports and starts, and its program: unlike the other services' it is in the image, so that the image
# runs by itself. The file lies here because its context is the project: pulumi-docker looks for the ignore file at the
# top of the context, BuildKit beside the Dockerfile. NVML comes with the driver, from NVIDIA's container runtime.
ARG BASE

# By content alone: a file mode that differs between two checkouts must not rebuild what follows.
FROM scratch AS lock
COPY --chmod=644 images/exporter/requirements.txt /

# Precompiled below, where it is installed: a container with a read-only root could not keep what it compiles.
FROM scratch AS program
COPY --chmod=644 contracts/__init__.py contracts/document.py contracts/exporter.py contracts/ray_nodes.py /contracts/
COPY --chmod=644 entrypoints/__init__.py entrypoints/gpu_devices.py entrypoints/log.py /entrypoints/
COPY --chmod=644 entrypoints/exporter/ /entrypoints/exporter/

FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y python3 prometheus-node-exporter \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM python AS build
RUN apt-get update && apt-get install -y python3-pip python3-venv
ARG PYPI_INDEX=
RUN --mount=type=bind,from=lock,source=/requirements.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/root/.cache/pip,id=cslr-pip \
    python3 -m venv --without-pip /opt/venv \
 && PIP_INDEX_URL="${PYPI_INDEX}" pip --python /opt/venv/bin/python install \
        --no-deps --require-hashes --only-binary=:all: --requirement /tmp/requirements.txt

FROM python
COPY --from=build /opt/venv /opt/venv
COPY --from=program / /opt/cslr/
RUN python3 -m compileall -q /opt/cslr
# All GPUs, and of the driver's libraries only NVML.
ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONPATH=/opt/cslr \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=utility
# Nobody else's processes and files belong to this user: it reads what everyone may read.
USER 65534:65534
WORKDIR /tmp
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/-/ready', timeout=3)"]
ENTRYPOINT ["python3", "-m", "entrypoints.exporter.server"]
LABEL org.opencontainers.image.title="cslr system-info-exporter" \
      org.opencontainers.image.description="Figures of GPUs, containers and host for Prometheus, as user 65534; port 8080"
