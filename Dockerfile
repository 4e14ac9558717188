# The app in a container. BASE and INDEX choose the hardware: see compose.yaml and docs/install.md.
ARG BASE=python:3.12-slim
FROM ${BASE}

ARG INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 GRADIO_ANALYTICS_ENABLED=False \
    XDG_DATA_HOME=/data XDG_STATE_HOME=/data/state XDG_CACHE_HOME=/data/cache HF_HOME=/data/huggingface

# torch first: it is large, and changes seldom
RUN python -m pip install --index-url ${INDEX} torch torchvision

WORKDIR /opt/upscaler
COPY . .
RUN python -m pip install '.[ui]' && useradd --create-home upscaler && mkdir -p /data && chown upscaler /data

USER upscaler
VOLUME /data
EXPOSE 7860
# where a command such as `run` finds and leaves its files, unless a folder is mounted and named by -w
WORKDIR /data
# whoever can reach the port gets in, and finds nothing of others; compose.yaml says it otherwise for a machine of one user
ENTRYPOINT ["python", "-m", "upscaler"]
CMD ["ui", "--no-browser", "--listen", "--no-auth", "--port", "7860"]
