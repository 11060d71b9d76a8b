# syntax=docker/dockerfile:1
# cmbert with the tested versions, for a user without root.
#
#   docker build -t clinical-modernbert .
#   docker run --gpus all --ipc=host -v "$PWD:/work" clinical-modernbert doctor
#
# For machines without GPUs (without the index, torch would be PyPI's CUDA build):
#
#   docker build -t clinical-modernbert --build-arg CONSTRAINTS=requirements/constraints-cpu.txt \
#     --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .
#
# torch brings the CUDA libraries with it, so the base needs only a driver at run time. Triton compiles with gcc.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# Debian updates these; pinned versions would disappear from its mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-venv openssh-client \
    && rm -rf /var/lib/apt/lists/*

ARG CONSTRAINTS=requirements/constraints-cuda.txt
ARG EXTRAS=evaluation,parquet
# pip reads it: of the same version, it prefers the CPU build of this index.
ARG PIP_EXTRA_INDEX_URL
COPY . /tmp/source
# Before 23.1, pip cannot build seqeval, which has no wheel.
RUN python3 -m venv /opt/cmbert \
    && /opt/cmbert/bin/pip install --no-cache-dir "pip>=23.1" \
    && /opt/cmbert/bin/pip install --no-cache-dir --constraint "/tmp/source/${CONSTRAINTS}" "/tmp/source[${EXTRAS}]" \
    && rm -rf /tmp/source

RUN useradd --create-home --uid 1000 cmbert
USER 1000
WORKDIR /work
ENV PATH=/opt/cmbert/bin:$PATH
ENTRYPOINT ["cmbert"]
CMD ["--help"]
