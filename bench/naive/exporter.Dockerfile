# The peer of bench/exporter.py: what people write first. One stage with the tools to build, the code before the packages, no
# cache mounts.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y build-essential prometheus-node-exporter python3-dev python3-pip python3-venv
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}
COPY . /app
RUN pip install --requirement /app/images/exporter/requirements.txt
WORKDIR /app
CMD ["python3", "-m", "entrypoints.exporter.server"]
