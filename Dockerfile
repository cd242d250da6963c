# Without sign-in the server listens on loopback only: run it with the host's network,
#   docker build -t astrarium . && docker run --rm --network host -v astrarium:/data astrarium
# With sign-in (docs/guide/access.md) it may listen everywhere:
#   docker run --rm -p 8080:8080 -v astrarium:/data astrarium server --auth builtin --host 0.0.0.0
FROM python:3.13-slim AS build
COPY requirements.lock pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN grep '==' /source/requirements.lock | tr -d '\\' > /source/constraints.txt \
 && python -m venv /app \
 && /app/bin/pip install --no-cache-dir --constraint /source/constraints.txt '/source[postgres]'

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 astrarium && mkdir /data && chown astrarium /data
COPY --from=build /app /app
USER astrarium
ENV PATH=/app/bin:$PATH ASTRARIUM_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["astrarium"]
CMD ["server"]
