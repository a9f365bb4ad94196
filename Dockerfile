# The dashboard with the shipped models: `docker build -t noisescope .`, with `--build-arg VARIANT=cuda` for NVIDIA GPUs.
# docs/DEPLOYMENT.md says how to run it.
FROM python:3.13-slim

ARG VARIANT=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/noisescope
COPY requirements.txt ./
COPY requirements requirements
RUN case "$VARIANT" in \
        cpu) pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu ;; \
        cuda) ;; \
        *) echo "VARIANT=$VARIANT: choose cpu or cuda" >&2; exit 2 ;; \
    esac && \
    pip install -r requirements.txt

# The program and its models belong to root and are read-only; runs are written to a volume.
COPY . .
RUN chmod -R a-w,a+rX . && \
    useradd --uid 1000 --create-home noisescope && \
    install --directory --owner=noisescope /runs

USER 1000
ENV HOME=/home/noisescope \
    NOISESCOPE_RUNS=/runs \
    PYTHONUNBUFFERED=1 \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_HEADLESS=true \
    STREAMLIT_SERVER_PORT=7860
VOLUME /runs
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://localhost:{os.environ[\"STREAMLIT_SERVER_PORT\"]}/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "main_interface.py"]
