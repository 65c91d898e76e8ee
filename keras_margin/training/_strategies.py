"""Which devices share each batch, and which process speaks for all."""

import functools
import json
import os
from typing import Any

import tensorflow as tf

KINDS = ("mirrored", "multiworker")


def make_strategy(replicas: int = 1, kind: str = "mirrored") -> Any:
    """Makes a tf.distribute strategy over devices of this machine, or over processes on several.

    Args:
        replicas: Devices that share each batch, >= 1: GPUs, or logical CPUs where there is no GPU. 1 with
            "multiworker", where each worker takes all its GPUs, or its CPU.
        kind: "mirrored", or "multiworker": MultiWorkerMirroredStrategy over the processes that the environment
            variable TF_CONFIG names.

    Returns:
        The strategy, the same at every call; for one mirrored replica the default strategy, which distributes nothing.

    Raises:
        ValueError: Where there are fewer GPUs, TensorFlow started before its CPU could be split, or TF_CONFIG is
            missing or makes no sense.

    Example:
        >>> make_strategy(1).num_replicas_in_sync
        1
    """
    if kind not in KINDS:
        raise ValueError(f"A strategy is one of {', '.join(KINDS)}. Received: {kind!r}.")
    if replicas < 1:
        raise ValueError(f"Training needs at least one replica. Received: replicas={replicas}.")
    if kind == "multiworker":
        if replicas != 1:
            raise ValueError(
                "multiworker takes all GPUs of each worker, or its CPU; CUDA_VISIBLE_DEVICES takes some away. "
                f"Received: replicas={replicas}."
            )
        check_tf_config()
        return _multiworker()
    if replicas == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if len(gpus) < replicas:
            raise ValueError(f"This machine has {len(gpus)} GPUs. Received: replicas={replicas}.")
        return _mirrored("GPU", replicas)
    cpu = tf.config.list_physical_devices("CPU")[0]
    # malloc gives each replica's buffers back to the system after every step: the pages are then asked for again, which
    # took half the time of a step of two replicas. TensorFlow's own allocator keeps them; it is chosen when it starts.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    try:
        if len(tf.config.get_logical_device_configuration(cpu) or ()) < replicas:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:
        raise ValueError(
            f"TensorFlow is already running and its CPU is not split into {replicas} logical devices. "
            "Call make_strategy before anything computes."
        ) from error
    return _mirrored("CPU", replicas)


@functools.cache
def _mirrored(kind, replicas):
    # One for the whole process: each MirroredStrategy numbers its collective operations from 100 on, and where those
    # of two meet with unlike shapes TensorFlow aborts them, and every later one.
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(replicas)])


@functools.cache
def _multiworker():
    # Rings over gRPC; NCCL, which GPUs would like better, is TensorFlow's own choice where it can be had.
    return tf.distribute.MultiWorkerMirroredStrategy()


def check_tf_config():
    """(this worker's number, all workers' addresses) from TF_CONFIG.

    Raises:
        ValueError: If it is missing or makes no sense.
    """
    example = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            "The strategy multiworker takes its workers from the environment variable TF_CONFIG, which is not set. Set "
            f"it on every machine, with its own index: TF_CONFIG='{example}'."
        )
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        index = int(task["index"])
        if task["type"] != "worker" or not 0 <= index < len(workers) or set(config["cluster"]) != {"worker"}:
            raise ValueError("its task is none of its workers")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG looks like {example}. Received: {text} ({error}).") from error
    return index, tuple(workers)


def is_multiworker(strategy):
    """Whether other processes take part."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def worker_of(strategy):
    """(this process's number, how many there are)."""
    if not is_multiworker(strategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return int(resolver.task_id), len(resolver.cluster_spec().as_dict()["worker"])


def is_chief(strategy):
    """Whether this process writes the files and speaks to the user."""
    return worker_of(strategy)[0] == 0
