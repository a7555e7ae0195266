"""Where workers run: on this machine, on a Slurm cluster, or on a Ray cluster. All see the folder of the run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from avatarkit.errors import ConfigError, MissingDependency
from avatarkit_cli.batch.worker import WORKER, Ended, Job, Worker, attempt, outcome

__all__ = ["Executor", "Local", "Ray", "Slurm"]

_POLL_SECONDS = 0.05
_SLURM_MINUTES = 24 * 60  # of a job without a limit; SBATCH_TIMELIMIT overrides it
_SLURM_MARGIN = 5  # minutes in which the worker ends before Slurm ends the job


class Executor(Protocol):
    """Runs workers.

    Attributes:
        slots: how many jobs it takes at a time.
    """

    slots: int

    def submit(self, job: Job) -> None:
        """Take a job."""

    def ended(self, seconds: float) -> Iterable[Ended]:
        """Return the jobs whose workers ended; waits at most so long for the first."""

    def stop(self) -> None:
        """End all workers."""


class Local:
    """Processes on this machine."""

    def __init__(self, slots: int, command: Sequence[str] = WORKER) -> None:
        self.slots, self._command, self._running = slots, command, list[Worker]()

    def submit(self, job: Job) -> None:
        """Start a worker."""
        self._running.append(Worker(job, self._command))

    def ended(self, seconds: float) -> Iterable[Ended]:
        """Return the jobs whose workers ended."""
        until, over = time.monotonic() + seconds, list[Ended]()
        while not over and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            for worker in list(self._running):
                if ended := worker.wait(0):
                    self._running.remove(worker)
                    over.append(ended)
        return over

    def stop(self) -> None:
        """Kill all workers, with what they started; stages that they finished are kept."""
        for worker in self._running:
            worker.kill()
        while self._running:
            list(self.ended(_POLL_SECONDS))


class Slurm:
    """Jobs of Slurm, one for each photo, through submitit.

    Args:
        slots: how many are in the queue at a time.
        folder: for scripts and logs of submitit, on a disk that all nodes see.
        cluster: ``slurm``, or ``local`` for processes of this machine.
        command: of the worker.
    """

    def __init__(self, slots: int, folder: Path, cluster: str = "slurm", command: Sequence[str] = WORKER) -> None:
        try:
            import submitit
        except ImportError:
            raise MissingDependency('--on slurm needs submitit: pip install "avatarkit-oneshot[slurm]"') from None
        self.slots, self._command, self._running = slots, command, list[tuple[Job, Any]]()
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        except RuntimeError as error:
            raise ConfigError(f"--on slurm works on a machine that can submit jobs to Slurm: {error}") from error

    def submit(self, job: Job) -> None:
        """Put a job into the queue; variables such as SBATCH_PARTITION choose where."""
        shares = {"cpus_per_task": job.cores, "mem_gb": job.memory_mb / 1000, "gpus_per_node": job.gpus}
        minutes = math.ceil(job.minutes) + _SLURM_MARGIN if job.minutes else _SLURM_MINUTES
        self._executor.update_parameters(name="avatarkit", timeout_min=minutes, **shares)
        self._running.append((job, self._executor.submit(attempt, job, self._command)))

    def ended(self, seconds: float) -> Iterator[Ended]:
        """Yield the jobs that left the queue."""
        over = [entry for entry in self._running if entry[1].done()]
        if not over:
            time.sleep(seconds)
        for entry in over:
            self._running.remove(entry)
            job, slurm = entry
            if slurm.exception() is None:
                yield slurm.result()
            else:
                yield job.id, outcome(Path(job.result)), f"Slurm ended the job: {slurm.state}."

    def stop(self) -> None:
        """Cancel all jobs."""
        for _, slurm in self._running:
            with suppress(Exception):
                slurm.cancel(check=False)
        self._running.clear()


class Ray:
    """Tasks of Ray.

    Args:
        slots: how many Ray knows of at a time; None = as many as its CPUs.
        address: of the cluster; None = RAY_ADDRESS, the cluster that runs on this machine, or a new one on it.
        command: of the worker.
    """

    def __init__(self, slots: int | None, address: str | None = None, command: Sequence[str] = WORKER) -> None:
        try:
            import ray
        except ImportError:
            raise MissingDependency('--on ray needs Ray: pip install "avatarkit-oneshot[ray]"') from None
        self._ray, self._command, self._running = ray, command, dict[Any, Job]()
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"No Ray cluster can be reached: {error}. Check --address and RAY_ADDRESS.") from error
        self.slots = slots or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._attempt = ray.remote(attempt)

    def submit(self, job: Job) -> None:
        """Submit a task; the driver tries it again, not Ray."""
        shares = {"num_cpus": job.cores, "num_gpus": job.gpus, "memory": job.memory_mb * 10**6, "max_retries": 0}
        self._running[self._attempt.options(**shares).remote(job, self._command)] = job

    def ended(self, seconds: float) -> Iterator[Ended]:
        """Yield the tasks that ended."""
        over, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for task in over:
            job = self._running.pop(task)
            try:
                ended: Ended = self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                ended = job.id, outcome(Path(job.result)), f"Ray lost the task: {type(error).__name__}."
            yield ended

    def stop(self) -> None:
        """Cancel all tasks, and leave the cluster."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()
        self._ray.shutdown()
