# airflow-dam: Airflow with everything requirements.txt pins, the DAGs, the plugin and the include folder.
FROM python:3.12-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends curl tini fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 50000 airflow \
    && mkdir -p /opt/airflow/logs /opt/airflow/keys /opt/airflow/access-log && chown -R airflow /opt/airflow

WORKDIR /opt/dam
COPY requirements.txt .
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache --compile-bytecode -r requirements.txt

COPY dags dags
COPY plugins plugins
COPY include include
COPY runtime runtime
COPY web web
RUN PYTHON=python sh runtime/web.sh && rm -rf web "$HOME/.npm"

ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/dam/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/dam/plugins \
    PYTHONPATH=/opt/dam/plugins:/opt/dam \
    PYTHONUNBUFFERED=1

USER airflow
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
