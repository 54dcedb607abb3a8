"""TorchServe's archive, configuration and command line; it runs `torchserve_handler`."""

import os
import subprocess
from pathlib import Path

CONFIG = """\
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
enable_envvars_config=false
disable_token_authorization=true
disable_system_metrics=true
install_py_dep_per_model=false
job_queue_size=1000
model_store={folder}
load_models=gimefive.mar
models={{"gimefive": {{"1.0": {{"defaultVersion": true, "marName": "gimefive.mar", \
"minWorkers": {workers}, "maxWorkers": {workers}, "batchSize": {batch}, "maxBatchDelay": 1, \
"responseTimeout": 60}}}}}}
"""


def command(python: Path, port: int, folder: Path) -> list[str]:
    """Write its files into `folder`; returns the command that starts it."""
    programs = python.parent
    archive = [str(programs / "torch-model-archiver"), "--model-name", "gimefive"]
    archive += ["--version", "1.0", "--export-path", str(folder)]
    archive += ["--handler", str(Path(__file__).with_name("torchserve_handler.py"))]
    subprocess.run(archive, check=True, capture_output=True)
    config = folder / "config.properties"
    cores = len(os.sched_getaffinity(0))
    config.write_text(
        CONFIG.format(
            port=port,
            management=port + 1,
            metrics=port + 2,
            folder=folder,
            workers=cores,
            batch=32,
        )
    )
    logs = ["env", f"LOG_LOCATION={folder}", f"METRICS_LOCATION={folder}"]
    start = [*logs, str(programs / "torchserve"), "--start", "--foreground", "--disable-token-auth"]
    return [*start, "--ts-config", str(config), "--model-store", str(folder)]
