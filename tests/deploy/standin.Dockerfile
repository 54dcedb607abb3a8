ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
# hadolint ignore=DL3008  # a stand-in for tests: whichever version Debian has
RUN apt-get update \
    && apt-get install --yes --no-install-recommends haproxy prometheus \
    && rm -rf /var/lib/apt/lists/*
