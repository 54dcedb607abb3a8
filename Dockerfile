# docker build --build-arg VARIANT=cpu --build-arg TORCH_INDEX=URL-OF-THE-CPU-INDEX -t gimefive .
# docker build --build-arg VARIANT=cuda -t gimefive:cuda .
ARG VARIANT=cpu
ARG BASE=python:3.11-slim-bookworm
ARG BUILD_BASE=${BASE}

# torch has its own layer: it is the largest and changes least often.
FROM ${BUILD_BASE} AS torch
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
ARG VARIANT
ARG TORCH_INDEX=
# hadolint ignore=DL3013  # torch is pinned; hadolint trips over the optional argument
RUN python -m pip install --target /opt/torch ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch==2.13.0 \
    && if [ "${VARIANT}" = cpu ] && [ -d /opt/torch/nvidia ]; then \
        echo "torch came with CUDA: set TORCH_INDEX to PyTorch's CPU index" >&2; exit 1; fi \
    && if [ "${VARIANT}" = cuda ] && [ ! -d /opt/torch/nvidia ]; then \
        echo "torch came without CUDA: leave TORCH_INDEX out, or set it to one of PyTorch's CUDA indices" >&2; exit 1; fi \
    && rm -rf /opt/torch/bin /opt/torch/torch/include /opt/torch/torch/share /opt/torch/torch/test \
    && find /opt/torch/torch/bin -mindepth 1 ! -name torch_shm_manager -delete \
    && find /opt/torch/torch -name '*.a' -delete

FROM torch AS dependencies
COPY pyproject.toml /src/
RUN python -m venv --without-pip /opt/venv \
    && echo /opt/torch > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth" \
    && python -c 'import tomllib; print(*(p := tomllib.load(open("/src/pyproject.toml", "rb"))["project"])["dependencies"], *p["optional-dependencies"]["traces"], sep="\n")' \
        > /src/requirements.txt \
    && python -m pip --python /opt/venv/bin/python install --requirement /src/requirements.txt

# The package with its models, whose checksums must match their model cards.
FROM dependencies AS package
COPY README.md LICENSE pyproject.toml /src/
COPY service /src/service
COPY model_store /src/model_store
RUN python -m pip wheel --no-deps --wheel-dir /dist /src \
    && python -m pip --python /opt/venv/bin/python install --no-deps --target /opt/gimefive /dist/*.whl
ENV PYTHONPATH=/opt/gimefive
RUN /opt/gimefive/bin/gimefive verify

FROM ${BASE} AS runtime-cpu

FROM ${BASE} AS runtime-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006  # a stage defined above
FROM runtime-${VARIANT}
ARG VARIANT
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="GiMeFive" \
    org.opencontainers.image.description="Facial-emotion classification with explanations over REST (${VARIANT})" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="python:3.11-slim-bookworm"
COPY --from=torch /opt/torch /opt/torch
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /opt/gimefive /opt/gimefive
ENV PATH=/opt/gimefive/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/gimefive \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GIMEFIVE_HOST=0.0.0.0 \
    GIMEFIVE_PORT=8000 \
    GIMEFIVE_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"GIMEFIVE_PORT\"]}/readyz', timeout=4)"]
ENTRYPOINT ["gimefive"]
CMD ["serve"]
