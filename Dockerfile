# docker build -t abruzzi . && docker run -p 8000:8000 -v /srv/models/MODEL:/model:ro abruzzi
# With keys: -e ABRUZZI_API_KEY=...; any other flag: as ABRUZZI_* or behind `abruzzi serve /model`.
FROM debian:12-slim AS build
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends make
COPY packaging/install-deps.sh packaging/
RUN packaging/install-deps.sh build
COPY . .
RUN make -j"$(nproc)" && make install DESTDIR=/out PREFIX=/usr/local

FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4 libedit2 libjansson4 libssl3 libxxhash0 libyaml-0-2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin abruzzi
COPY --from=build /out/usr/local/ /usr/local/
USER abruzzi
# Inside a container only other containers and published ports can reach it.
ENV ABRUZZI_HOST=0.0.0.0
EXPOSE 8000
STOPSIGNAL SIGTERM
# Loading takes as long as it takes: a check that fails meanwhile does not count.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30m --retries=3 \
    CMD ["/usr/local/share/abruzzi/healthcheck"]
CMD ["abruzzi", "serve", "/model"]
