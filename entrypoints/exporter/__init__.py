"""The exporter: figures of one host for Prometheus. It runs in the image system-info-exporter, with its libraries."""
