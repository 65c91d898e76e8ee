"""Flags of a training run, for argparse and for absl, one table for command and example; values that flags take."""

import argparse
import dataclasses
import math

from keras_margin._utils.normalization import NORMALIZATIONS


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag: its name, kind (str, int, float, bool or list), default and help."""

    name: str
    kind: type
    default: object
    help: str


TRAIN = (
    Flag(
        "data_dir",
        str,
        None,
        "Folder of identities (root/identity/*.jpg), folder with train.rec, .rec file, or folder of TFRecord shards. "
        "Default: the embedded ORL faces.",
    ),
    Flag(
        "recipe",
        str,
        None,
        "Name of the recipe (keras-margin recipes lists them), or a run's recipe.json. Default: orl_demo for ORL; for "
        "a data_dir arcface_small where it has fewer than 1,000 people or 20,000 images, else arcface_casia_r50.",
    ),
    Flag("set", list, (), "key=value of the recipe to change, any number of times: --set head.margin=0.4"),
    Flag("head", str, None, "Name of the margin head, with its published numbers. Default: the recipe's."),
    Flag("iam_beta", float, None, "Weight of the IAM loss. Default: the recipe's."),
    Flag(
        "backbone",
        str,
        None,
        "Name of the backbone, or package.module:name of your own: a function of input_shape and embedding_size, or a "
        "Keras model. Default: the recipe's.",
    ),
    Flag("batch_size", int, None, "Images per update, over all replicas. Default: the recipe's."),
    Flag(
        "callbacks",
        list,
        (),
        "package.module:name of a function that returns a Keras callback, or a list of them; repeatable. It may take "
        "recipe= and seed=. They come behind those of the recipe.",
    ),
    Flag("steps", int, None, "Updates; the schedule is stretched to fit. Default: the recipe's."),
    Flag("replicas", int, 1, "GPUs, or logical CPUs where there is no GPU, that share each batch."),
    Flag("strategy", str, "mirrored", "mirrored: devices of this machine. multiworker: the processes of TF_CONFIG."),
    Flag("mixed_precision", bool, False, "Compute in float16 (GPU) or bfloat16 (CPU); heads stay float32."),
    Flag("deterministic", bool, False, "The same bits in every run on one kind of machine; slower."),
    Flag("seed", int, 0, "Seed of splits, weights, order and augmentation."),
    Flag("held_out", int, None, "Identities kept for the test. Default: 10 of ORL's, else a tenth."),
    Flag("strict", bool, False, "Refuse unreadable images instead of skipping them."),
    Flag(
        "verify",
        list,
        (),
        "What to measure while training: a verification .bin, a folder of identities, or held_out; repeatable.",
    ),
    Flag("verify_every", int, None, "Updates between two verifications. Default: a tenth of the run."),
    Flag("checkpoint_minutes", float, 5.0, "Minutes between two checkpoints."),
    Flag("keep", int, 2, "Newest checkpoints kept while training; with --verify the best one as well."),
    Flag("diagnostics", bool, True, "Watch for what is known to go wrong."),
    Flag("restart", bool, False, "Throw an unfinished run of the same name away."),
    Flag("out", str, "runs/latest", "Folder of the run; an older run there is replaced at the end."),
)


def add_to(parser, flags=TRAIN):
    """Makes the flags argparse's; a bool also as --noNAME, as absl has it."""
    for flag in flags:
        if flag.kind is bool:
            parser.add_argument(f"--{flag.name}", action="store_true", default=flag.default, help=flag.help)
            parser.add_argument(f"--no{flag.name}", action="store_false", dest=flag.name, help="the opposite")
        elif flag.kind is list:
            parser.add_argument(f"--{flag.name}", action="append", default=[], help=flag.help)
        else:
            parser.add_argument(f"--{flag.name}", type=flag.kind, default=flag.default, help=flag.help)


def define(absl_flags, flags=TRAIN):
    """Makes the flags absl's."""
    define_as = {
        str: absl_flags.DEFINE_string,
        int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float,
        bool: absl_flags.DEFINE_bool,
        list: absl_flags.DEFINE_multi_string,
    }
    for flag in flags:
        define_as[flag.kind](flag.name, list(flag.default) if flag.kind is list else flag.default, flag.help)


def count(text):
    """Reads an int >= 1; 1_000_000 is read too."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"needs an int >= 1, received {text}")
    return value


def checked_cosine(threshold):
    """Returns --threshold as it was given, None included.

    Raises:
        ValueError: Where it is outside of [-1, 1].
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"--threshold must be a cosine in [-1, 1]. Received: {threshold}.")
    return threshold


NORMALIZATION_HELP = "of a foreign network that takes floats: grey levels, such as 127.5/128, or a name: imagenet"


def normalization(text):
    """Reads (mean, std) of a network that takes floats: "127.5/128", "127.5,128", "120,110,100/60,50,40" or a name."""
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text]
    parts = text.split("/") if "/" in text else text.split(",")
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in parts)
        if {len(mean), len(std)} <= {1, 3} and all(map(math.isfinite, [*mean, *std])) and min(std) > 0:
            return tuple(part[0] if len(part) == 1 else tuple(part) for part in (mean, std))
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"must be MEAN/STD in grey levels, each a number or three (R,G,B), std > 0, such as 127.5/128, "
        f"or one of {', '.join(NORMALIZATIONS)}, received {text}"
    )
