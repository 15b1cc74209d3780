# docker build -t musicreclass .                              XGBoost for the CPU
# docker build -t musicreclass --build-arg XGBOOST=gpu .      XGBoost for CUDA; torch comes with its CUDA libraries
FROM python:3.11-slim
ARG XGBOOST=cpu
RUN apt-get update && apt-get install --yes --no-install-recommends ffmpeg make && rm -rf /var/lib/apt/lists/*
WORKDIR /musicreclass
COPY . .
RUN make install XGBOOST=$XGBOOST
ENV PATH=/musicreclass/.venv/bin:$PATH
WORKDIR /data
ENTRYPOINT ["musicreclass"]
