"""The examples for schedulers say what the command means, as far as can be seen without an engine."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "examples" / "farm"
yaml = pytest.importorskip("yaml")


def covered(script, tmp_path, tasks, **variables):
    """The segments that every task of an array asks for, in order, by a program that writes down its words."""
    program = tmp_path / "osediff-video"
    program.write_text('#!/bin/bash\necho "$@"\n')
    program.chmod(0o755)
    found = []
    for task in range(tasks):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **{name: str(task) for name in variables}}
        done = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True)
        if match := re.search(r"--segments (\d+)-(\d+)", done.stdout):
            found += range(int(match[1]), int(match[2]) + 1)
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_arrays_make_every_segment_once(tmp_path):
    slurm = (FOLDER / "array.sbatch").read_text()
    assert covered(slurm, tmp_path, 10, SLURM_ARRAY_TASK_ID=0) == list(range(900))
    job = yaml.safe_load((FOLDER / "job.yaml").read_text())
    spec = job["spec"]["template"]["spec"]
    [script] = spec["containers"][0]["args"]
    assert covered(script, tmp_path, job["spec"]["completions"], JOB_COMPLETION_INDEX=0) == list(range(900))
    mounts = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.slow
def test_the_cluster_of_ray_fits_its_schema():
    ray, jsonschema = pytest.importorskip("ray"), pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = yaml.safe_load((FOLDER / "ray.yaml").read_text())
    jsonschema.validate(cluster, schema)
    starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if " start " in line)


def test_the_image_runs_the_command_as_nobody_special():
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    assert {words[0] for words in lines} == known and lines[0][0] == "FROM"
    assert lines[-1] == ["ENTRYPOINT", '["osediff-video"]'] and ["USER", "1000"] in lines


QUIET = "{extends: default, rules: {line-length: {max: 120}, document-start: disable, braces: disable}}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("linter", "words", "names"),
    [
        ("hadolint", [], ["Dockerfile"]),
        ("shellcheck", [], ["array.sbatch"]),
        ("yamllint", ["--strict", "-d", QUIET], ["job.yaml", "ray.yaml", "fsdp.yaml"]),
        ("kubernetes-validate", ["--strict"], ["job.yaml"]),
    ],
)
def test_linters_find_nothing(linter, words, names):
    if (program := shutil.which(linter)) is None:
        pytest.skip(f"needs {linter}: pip install '.[lint]'")
    done = subprocess.run([program, *words, *(FOLDER / name for name in names)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
