# Lorasmith in a container: for the processor, or for a graphics card (docs/install.md).
#
#   docker build -t lorasmith .
#   docker build -t lorasmith:cuda --build-arg TORCH_BACKEND=cu130 .
#
# torch brings its own CUDA libraries; of the host only the driver is used.
ARG DEBIAN=bookworm-slim
FROM debian:${DEBIAN}

# What uv calls torch's kind: cpu, cu126, cu130, rocm6.4 … Empty: the one of the package index.
ARG TORCH_BACKEND=cpu
ARG UV_VERSION=0.13.8

# Security updates of Debian's Python are wanted, so its version is not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/lorasmith \
    && /opt/lorasmith/bin/pip install --no-cache-dir "uv==${UV_VERSION}" \
    && useradd --create-home --uid 1000 lorasmith \
    && install -d -o lorasmith -g lorasmith /workspace

ENV PATH=/opt/lorasmith/bin:$PATH \
    VIRTUAL_ENV=/opt/lorasmith \
    LORASMITH_WORKSPACE=/workspace \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The dependencies are a layer of their own: it stays when only our code changes.
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN uv pip install --no-cache ${TORCH_BACKEND:+--torch-backend=$TORCH_BACKEND} \
    --constraint constraints.txt --requirements pyproject.toml
COPY . .
RUN uv pip install --no-cache --no-deps . && rm -rf build ./*.egg-info

USER 1000:1000
WORKDIR /workspace
VOLUME /workspace
EXPOSE 7860
# The app asks for its password (401), or shows its page.
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s CMD ["python", "-c", \
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 7860, timeout=5); c.request('GET', '/'); raise SystemExit(c.getresponse().status not in (200, 401))"]
ENTRYPOINT ["lorasmith"]
# It listens outside of the container, so it starts with a password only (LORASMITH_PASSWORD).
CMD ["app", "--host=0.0.0.0"]
