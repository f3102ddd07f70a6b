# The page on a machine with an NVIDIA GPU (or without one: it then runs on the processor).
#   docker build -t genius .
#   docker run --gpus all -p 7860:7860 -v genius-cache:/cache genius
# docs/deploy.md tells how to serve another model or collection.
FROM python:3.12-slim-bookworm

# Photographs and clip art of the default collections.
COPY packages.txt /tmp/packages.txt
RUN apt-get update \
    && apt-get install -y --no-install-recommends $(cat /tmp/packages.txt) \
    && rm -rf /var/lib/apt/lists/* /tmp/packages.txt

# A user of its own, as Hugging Face's containers want it.
RUN useradd --create-home --uid 1000 genius && mkdir /cache && chown genius /cache
USER genius
WORKDIR /home/genius/app
ENV PATH=/home/genius/.local/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860

COPY --chown=genius requirements.txt .
RUN pip install --user --no-cache-dir -r requirements.txt

COPY --chown=genius . .
EXPOSE 7860
VOLUME /cache
CMD ["python", "app.py"]
