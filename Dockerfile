# The default image runs on a CPU: docker build -t avatarkit .
# With CUDA:                     docker build -t avatarkit:cuda --target cuda .
# docs/elsewhere.md shows how to run them.

ARG PYTHON=3.12
ARG DEBIAN=bookworm
ARG CUDA=12.8.1
ARG TORCH=2.9.*
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128

FROM python:${PYTHON}-slim-${DEBIAN} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md ./
COPY avatarkit avatarkit
COPY cli cli
COPY plugins plugins
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# gsplat compiles its kernels at first use, so this stage keeps the compiler, and PyTorch is one for the same CUDA.
FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS cuda
ARG TORCH
ARG TORCH_INDEX
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/avatarkit
ENV PATH=/opt/avatarkit/bin:$PATH
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    wheel=$(echo /dist/*.whl) \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" "torch==$TORCH" "${wheel}[cuda,birefnet,dwpose,lpips]"
ENV AVATARKIT_CACHE=/cache PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 avatarkit && install --directory --owner 10001 --group 10001 /cache /avatars
USER 10001
WORKDIR /avatars
VOLUME ["/cache", "/avatars"]
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m CMD ["avatarkit", "doctor"]
ENTRYPOINT ["avatarkit"]
CMD ["--help"]

FROM python:${PYTHON}-slim-${DEBIAN} AS cpu
RUN python -m venv /opt/avatarkit
ENV PATH=/opt/avatarkit/bin:$PATH
# PyTorch's own index has wheels without CUDA, which are 3.8 GB smaller.
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu /dist/*.whl
ENV AVATARKIT_CACHE=/cache PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 avatarkit && install --directory --owner 10001 --group 10001 /cache /avatars
USER 10001
WORKDIR /avatars
VOLUME ["/cache", "/avatars"]
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m CMD ["avatarkit", "doctor"]
ENTRYPOINT ["avatarkit"]
CMD ["--help"]
