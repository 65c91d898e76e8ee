"""All that a run's future depends on, out of its variables as arrays and back."""

import numpy as np
import tensorflow as tf

from keras_margin.training import _step, _strategies


def variables_of(model, averages=None):
    """(path, variable) of weights, head state, seed generators, optimiser and running means, in one order."""
    found = [(f"model/{variable.path}", variable) for variable in model.variables]
    found += [(f"optimizer/{variable.path}", variable) for variable in model.optimizer.variables]
    if averages is not None:
        found += [(f"averages/{number}", variable) for number, variable in enumerate(averages.variables)]
    unique = {}
    for path, variable in found:
        unique.setdefault(id(variable), (path, variable))
    return list(unique.values())


def arrays_of(model, averages=None):
    """Dict from a variable's number and path to its value."""
    return {
        f"{number:05d} {path}": variable.numpy()
        for number, (path, variable) in enumerate(variables_of(model, averages))
    }


def put(arrays, model, averages, strategy):
    """Gives the variables the values that `arrays_of` read; under several workers the chief's, whatever theirs.

    Raises:
        ValueError: Where number, shape or dtype differ.
    """
    variables = variables_of(model, averages)
    chief = _strategies.is_chief(strategy)
    if chief:
        # The paths are for the reader: Keras numbers layers by what else was built in the process.
        values = [arrays[name] for name in sorted(arrays)]
        if len(values) != len(variables):
            raise ValueError(f"The checkpoint has {len(values)} variables, the model {len(variables)}.")
        for (path, variable), value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape:
                raise ValueError(
                    f"{path} has the shape {tuple(variable.shape)}, in the checkpoint it is {value.shape}."
                )
    else:
        values = [np.zeros(variable.shape, _numpy_type(variable)) for _, variable in variables]
    with strategy.scope():
        for (_, variable), value in zip(variables, values, strict=True):
            value = value.view(_numpy_type(variable)) if value.dtype.kind == "V" else value
            variable.assign(broadcast_from_chief(value, strategy) if _strategies.is_multiworker(strategy) else value)


def load_checkpoint(arrays, model, recipe):
    """Gives a model of the recipe, under no strategy, what a checkpoint holds; with `ema`, the means.

    Args:
        arrays: From Checkpoints.newest or .best.
        model: From build_model.
        recipe: recipes.Recipe.
    """
    strategy = tf.distribute.get_strategy()
    model.optimizer.build(model.trainable_variables)
    averages = _step.Averages(model.embedder, recipe.optimizer.ema, strategy) if recipe.optimizer.ema else None
    put(arrays, model, averages, strategy)
    if averages is not None:
        averages.swap()


def _numpy_type(variable):
    return tf.as_dtype(variable.dtype).as_numpy_dtype


def broadcast_from_chief(value, strategy):
    """The chief's value, an array, in every worker; each calls this with an array of the same shape and dtype."""
    value = np.asarray(value)
    # Collectives know neither bool nor unsigned; the other workers' zeros add nothing.
    carried = value if value.dtype.kind == "f" else value.astype(np.int64)
    carried = carried if _strategies.is_chief(strategy) else np.zeros_like(carried)

    @tf.function(autograph=False)
    def give(own):
        def replica():
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group == 0
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, own, tf.zeros_like(own)))

        return strategy.experimental_local_results(strategy.run(replica))[0]

    return give(tf.constant(carried)).numpy().astype(value.dtype)
