# JupyterLab with the course, for a JupyterHub that starts a container for each student. Not built or run by any test here.
#
#   docker build -t cnnbook --build-arg JUPYTERHUB=5.4.0 .
#
# JUPYTERHUB is the hub's own version. The environment and the course lie in /opt and belong to root, so nobody changes them
# for others; a student works on copies in the home folder, which the start makes once and never writes over. Larger data sets
# that the class shares are mounted at /srv/tensorflow_datasets, read only.
FROM python:3.12-slim-bookworm

ARG JUPYTERHUB=5.4.0
COPY . /opt/cnnbook
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir /opt/cnnbook[cpu,lab] -c /opt/cnnbook/constraints.txt \
 && /opt/venv/bin/python -m pip install --no-cache-dir jupyterhub==${JUPYTERHUB} \
 && chmod -R a+rX,go-w /opt/cnnbook /opt/venv \
 && useradd --create-home --uid 1000 student

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    TFDS_DATA_DIR=/srv/tensorflow_datasets
USER student
WORKDIR /home/student
EXPOSE 8888
# cp -n keeps what is there (some versions call that a failure). A hub passes its token and address in the environment; without one, plain JupyterLab starts.
CMD ["sh", "-c", "mkdir -p course && { cp -rn /opt/cnnbook/notebooks/. course/ || true; } && if [ -n \"$JUPYTERHUB_API_TOKEN\" ]; then exec jupyterhub-singleuser --ip=0.0.0.0; else exec jupyter lab --ip=0.0.0.0 --no-browser course; fi"]
