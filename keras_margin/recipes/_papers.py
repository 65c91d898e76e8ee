"""The papers' published recipes, the demo's, and one for a small set of one's own.

What a paper leaves open is said in the recipe's `source`. Which weights decay is the release's rule: MXNet's optimiser,
under ArcFace's and QAMFace's code, decays what is called weight (kernels and prototypes; releases before 1.5 batch
norm's scale too: optimizer.decay_exclude=beta,bias); SphereFace's Caffe files all but biases; TF-Slim, under the
Inception-ResNet of IAM, kernels alone.
"""

from collections.abc import Iterator

from keras_margin.data.augmentation import Augmentation
from keras_margin.recipes._parts import Data, Head, Model, Optimizer, Run, Schedule
from keras_margin.recipes.base import Recipe

_UNMEASURED = "Not yet measured."
_ARCFACE = f"Deng et al., ArcFace, CVPR 2019, section 3.1. {_UNMEASURED}"
_ARCFACE_TABLE_2 = (
    "Deng et al., ArcFace, CVPR 2019, table 2 and section 2.3; the weight of the added loss, 1, is its equations'. "
)
_QAMFACE = f"Zhao et al., QAMFace, 2020, section 4.1. {_UNMEASURED}"
_SPHEREFACE = (
    "Liu et al., SphereFace, CVPR 2017, section 4.1; momentum 0.9 and weight decay 5e-4 from its released solver, "
    f"which also doubles the biases' rate, which we do not. {_UNMEASURED}"
)
_IAM = (
    "Yang et al., IAM loss, 2020, section 5.2 and tables 3 to 6. The paper names neither momentum, 0.9 here, nor the "
    "image's size, facenet's here, nor the end, 150,000 updates here. "
)

# ArcFace's margins: name -> head, whose numbers beyond these are the head's defaults, which are the paper's.
_MARGINS = {
    "arcface": Head("arcface"),
    "cosface": Head("cosface"),
    "sphereface": Head("sphereface_arccos"),
    "cm1": Head("combined", {"m1": 1.0, "m2": 0.3, "m3": 0.2}),
    "cm2": Head("combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15}),
}
# ArcFace's table 2: name -> (head, what is added).
_TRIPLET = ("angular_triplet", (("margin", 0.35),))
_ADDED = {
    "normsoftmax": ("normsoftmax", ()),
    "normsoftmax_intra": ("normsoftmax", (("intra", ()),)),
    "normsoftmax_inter": ("normsoftmax", (("inter", ()),)),
    "normsoftmax_intra_inter": ("normsoftmax", (("intra", ()), ("inter", ()))),
    "normsoftmax_triplet": ("normsoftmax", (_TRIPLET,)),
    "arcface_intra": ("arcface", (("intra", ()),)),
    "arcface_inter": ("arcface", (("inter", ()),)),
    "arcface_intra_inter": ("arcface", (("intra", ()), ("inter", ()))),
    "arcface_triplet": ("arcface", (_TRIPLET,)),
}
# IAM's base losses: name -> (head with the best beta of its tables on LFW, all its betas).
_IAM_BASES = {
    "normsoftmax": (Head("normsoftmax", {"scale": 30.0}, iam_beta=0.8), "0 to 2, table 3"),
    "cosface": (Head("cosface", {"margin": 0.4, "scale": 30.0}, iam_beta=0.05), "0 to 2, table 4"),
    "arcface": (Head("arcface", {"scale": 30.0}, iam_beta=0.05), "0.05 and 0.1, table 5"),
    "sphereface": (Head("sphereface", iam_beta=0.1), "0.05 and 0.1, table 5"),
    "l2softmax": (Head("l2softmax", iam_beta=0.1), "0.05 and 0.1, table 5"),
    "center": (Head("softmax", auxiliary_losses=(("center", ()),), iam_beta=0.1), "0.05 and 0.1, table 5"),
    "ring": (Head("softmax", auxiliary_losses=(("ring", ()),), iam_beta=0.1), "0.05 and 0.1, table 5"),
}


def _casia(name: str, source: str, head: Head, images_per_identity: int | None = None) -> Recipe:
    return Recipe(
        name,
        source,
        model=Model("ir_resnet50"),
        head=head,
        optimizer=Optimizer("sgd", momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(learning_rate=0.1, decay_steps=(20_000, 28_000)),
        data=Data(batch_size=512, images_per_identity=images_per_identity),
        run=Run(steps=32_000),
    )


def _ms1mv2(name: str, source: str, head: Head) -> Recipe:
    return Recipe(
        name,
        source,
        model=Model("ir_resnet100"),
        head=head,
        optimizer=Optimizer("sgd", momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(learning_rate=0.1, decay_steps=(100_000, 160_000)),
        data=Data(batch_size=512),
        run=Run(steps=180_000),
    )


def _arcface() -> Iterator[Recipe]:
    for name, head in _MARGINS.items():
        yield _casia(f"{name}_casia_r50", _ARCFACE, head)
        yield _ms1mv2(f"{name}_ms1mv2_r100", _ARCFACE, head)


def _arcface_table_2() -> Iterator[Recipe]:
    for name, (head, added) in _ADDED.items():
        triplet = _TRIPLET in added
        said = "Images of an identity in a batch: ours, 4; the paper does not say. " if triplet else ""
        source = f"{_ARCFACE_TABLE_2}{said}{_UNMEASURED}"
        yield _casia(f"{name}_casia_r50", source, Head(head, auxiliary_losses=added), 4 if triplet else None)


def _sphereface() -> Iterator[Recipe]:
    for layers in (4, 10, 20, 36, 64):
        yield Recipe(
            f"sphereface_casia_s{layers}",
            _SPHEREFACE,
            model=Model(f"spherenet{layers}", image_size=(112, 96), flip_features="concatenate"),
            head=Head("sphereface"),
            optimizer=Optimizer("sgd", momentum=0.9, weight_decay=5e-4, decay_exclude=("bias",)),
            schedule=Schedule(learning_rate=0.1, decay_steps=(16_000, 24_000)),
            data=Data(batch_size=128),
            run=Run(steps=28_000),
        )


def _iam() -> Iterator[Recipe]:
    for name, (head, betas) in _IAM_BASES.items():
        yield Recipe(
            f"iam_{name}_casia_irv1",
            f"{_IAM}iam_beta: {betas}; best on LFW {head.iam_beta:g}. {_UNMEASURED}",
            model=Model("inception_resnet_v1", image_size=(160, 160), prewhiten=True),
            head=head,
            optimizer=Optimizer("sgd", momentum=0.9, weight_decay=5e-4),
            schedule=Schedule(learning_rate=0.1, decay_steps=(60_000, 120_000)),
            data=Data(batch_size=90),
            run=Run(steps=150_000),
        )


_DEMO = Recipe(
    "orl_demo",
    "Ours: `make demo` on the ORL faces; the README carries what it reached.",
    model=Model("ir_small", {"dropout": 0.2, "stem_strides": 1}, image_size=(56, 48)),
    head=Head("arcface", {"margin": 0.3, "scale": 16.0}),
    optimizer=Optimizer("adamw", weight_decay=1e-2),
    schedule=Schedule(learning_rate=2e-3, warmup_steps=50),
    data=Data(32, augmentation=Augmentation(flip=True, shift=0.06, zoom=0.08, rotate=8.0, contrast=0.2)),
    run=Run(steps=500),
)
_SMALL = Recipe(
    "arcface_small",
    "Ours, for a set of one's own: tens to hundreds of people, a few images of each. Not yet measured.",
    model=Model("ir_small", {"dropout": 0.2}),
    head=Head("arcface", {"margin": 0.3, "scale": 16.0}),
    optimizer=Optimizer("adamw", weight_decay=1e-2),
    schedule=Schedule(learning_rate=2e-3, warmup_steps=100),
    data=Data(32, augmentation=Augmentation(flip=True, shift=0.06, zoom=0.08, rotate=8.0, contrast=0.2)),
    run=Run(steps=1_000),
)
_QAM = Recipe(
    "qamface_ms1m_r50",
    _QAMFACE,
    model=Model("ir_resnet50"),
    head=Head("qamface"),
    optimizer=Optimizer("sgd", momentum=0.9, weight_decay=5e-4),
    schedule=Schedule(learning_rate=0.2, decay_steps=(80_000, 200_000, 360_000)),
    data=Data(batch_size=256),
    run=Run(steps=400_000),
)

ALL = (_DEMO, _SMALL, *_arcface(), *_arcface_table_2(), *_sphereface(), _QAM, *_iam())
