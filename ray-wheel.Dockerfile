# One layer on an image of the family: another build of Ray than its release, `images.ray` of a stack file, such as a
# nightly. It lies here because its context is the project, where wheels/ is. For the BuildKit of Docker 20.10, like
# images/ml/Dockerfile; install.py runs with the image's own Python and uv.
ARG BASE

FROM scratch AS wheel
ARG WHEEL_FILE
COPY --chmod=644 ${WHEEL_FILE} /wheel/

FROM scratch AS installer
COPY --chmod=644 images/ml/trim.py /images/ml/
COPY --chmod=644 images/packages/install.py /images/packages/
COPY --chmod=644 images/ray_wheel/install.py /images/ray_wheel/

FROM ${BASE} AS ray-wheel
ARG RAY_VERSION
ARG WHEEL_URL=
ARG WHEEL_SHA256
USER 0:0
RUN --mount=type=tmpfs,target=/tmp \
    --mount=type=bind,from=installer,source=/images,target=/tmp/installer/images \
    --mount=type=bind,from=wheel,source=/wheel,target=/tmp/wheel \
    --mount=type=cache,target=/tmp/cache,id=cslr-packages \
    PYTHONPATH=/tmp/installer python -B /tmp/installer/images/ray_wheel/install.py ray
USER 1000:1000
LABEL org.opencontainers.image.title="cslr with another build of Ray" \
      cslr.ray="${RAY_VERSION}" \
      cslr.ray.wheel="sha256:${WHEEL_SHA256}"
