"""Engines: how a batch meets all the prototypes.

Every margin loss of this package splits in two. What bends the target is worth a few numbers a sample; what costs
is the log-sum over the other classes. An engine does the second:

    log_sum_i = log sum_{j != y_i} exp(logit_ij),   logit_ij = scale_i * cos(x_i, W_j), or a Bend of the cosine

and hands back the sample's own prototype, from which the head computes the rest by plain autodiff:

    loss_i = softplus(log_sum_i - target_logit_i) = -log p_i

A margin, a regulariser or an annealed lambda therefore never meets an engine, and an engine never meets them.

| engine      | beside the prototypes and their gradient                          | time, in bare products |
|-------------|-------------------------------------------------------------------|------------------------|
| `plain`     | several (batch, num_classes) tensors; differentiated by the backend | the most               |
| `fused`     | one (batch, num_classes) tensor                                   | the least              |
| `streaming` | a few megabytes, however many classes                             | in between             |
"""

from keras_margin.engines._cosines import best_of_others, cosines, is_own_class, log_sum_of_others, own_prototypes
from keras_margin.engines._fused import fused
from keras_margin.engines._meeting import LOG_ZERO, Bend, Meeting
from keras_margin.engines._memory import Memory, device_memory, peak_bytes, sampled_bytes
from keras_margin.engines._plain import plain
from keras_margin.engines._streaming import streaming

__all__ = [
    "ENGINES",
    "LOG_ZERO",
    "Bend",
    "Meeting",
    "Memory",
    "best_of_others",
    "cosines",
    "device_memory",
    "fused",
    "is_own_class",
    "log_sum_of_others",
    "own_prototypes",
    "peak_bytes",
    "plain",
    "sampled_bytes",
    "streaming",
]

ENGINES = {"plain": plain, "fused": fused, "streaming": streaming}
