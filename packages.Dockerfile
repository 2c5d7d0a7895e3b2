# One layer on an image of the family: what the file of a stack asks for beyond it, `images.packages` as locked beside
# that file and `images.apt`. It lies here because its context is the project, where the lock is: pulumi-docker looks for
# the ignore file at the top of the context, BuildKit beside the Dockerfile. For the BuildKit of Docker 20.10, like
# images/ml/Dockerfile; install.py runs with the image's own Python and uv.
ARG BASE

FROM scratch AS lock
ARG LOCK_FILE
COPY --chmod=644 ${LOCK_FILE} /packages.txt

FROM scratch AS installer
COPY --chmod=644 images/ml/trim.py /images/ml/
COPY --chmod=644 images/packages/install.py /images/packages/

# WITHOUT_TORCH: whether the image has no torch, and so gets the lock's second part as well.
FROM ${BASE} AS packages
ARG APT=
ARG WITHOUT_TORCH=
ARG PYPI_INDEX=
USER 0:0
RUN --mount=type=tmpfs,target=/tmp \
    --mount=type=bind,from=installer,source=/images,target=/tmp/installer/images \
    --mount=type=bind,from=lock,source=/packages.txt,target=/tmp/packages.txt \
    --mount=type=cache,target=/tmp/cache,id=cslr-packages \
    PYTHONPATH=/tmp/installer python -B /tmp/installer/images/packages/install.py packages
USER 1000:1000
ARG PACKAGES=
ARG PACKAGES_LOCK=
LABEL org.opencontainers.image.title="cslr packages" \
      cslr.packages="${PACKAGES}" \
      cslr.packages.lock="${PACKAGES_LOCK}" \
      cslr.apt="${APT}"
