# The peer of bench/transcription.py: whisper's command as people install it, with the model of our image, and the speech that
# both hear.
ARG BASE
ARG BACKEND
FROM ${BACKEND} AS backend

FROM ${BASE} AS speech
RUN apt-get update && apt-get install -y espeak-ng
ARG TEXT
RUN espeak-ng -v en-us -s 140 -w /speech.wav "${TEXT}"

FROM ${BASE}
RUN apt-get update && apt-get install -y python3-pip python3-venv
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}
ARG CLI
RUN pip install "${CLI}"
COPY --from=backend /opt/models /opt/models
COPY --from=backend /opt/examples /opt/examples
COPY --from=speech /speech.wav /opt/examples/speech.wav
ENV HF_HUB_OFFLINE=1
USER 1000:1000
WORKDIR /tmp
CMD ["sleep", "infinity"]
