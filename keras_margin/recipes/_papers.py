"""The papers' published recipes, the demo's, and one for a small set of one's own.

What a paper leaves open is said in the recipe's `source`. Which weights decay is the release's rule: MXNet's optimiser,
under ArcFace's and QAMFace's code, decays what is called weight (kernels and prototypes; releases before 1.5 batch
norm's scale too: decay_exclude=beta,bias); SphereFace's Caffe files all but biases; TF-Slim, under the Inception-ResNet
of IAM, kernels alone.
"""

from keras_margin.data.augmentation import Augmentation
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

CASIA = {"batch_size": 512, "steps": 32_000, "learning_rate": 0.1, "decay_steps": (20_000, 28_000)}
MS1MV2 = {**CASIA, "steps": 180_000, "decay_steps": (100_000, 160_000)}

# ArcFace's margins: name -> (head, its numbers beyond the head's defaults, which are the paper's).
_MARGINS = {
    "arcface": ("arcface", ()),
    "cosface": ("cosface", ()),
    "sphereface": ("sphereface_arccos", ()),
    "cm1": ("combined", (("m1", 1.0), ("m2", 0.3), ("m3", 0.2))),
    "cm2": ("combined", (("m1", 0.9), ("m2", 0.4), ("m3", 0.15))),
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
# IAM's base losses: name -> (head, its numbers, regularisers, the best beta of its tables on LFW, all its betas).
_SCALE = (("scale", 30.0),)
_IAM_BASES = {
    "normsoftmax": ("normsoftmax", _SCALE, (), 0.8, "0 to 2, table 3"),
    "cosface": ("cosface", (("margin", 0.4), *_SCALE), (), 0.05, "0 to 2, table 4"),
    "arcface": ("arcface", _SCALE, (), 0.05, "0.05 and 0.1, table 5"),
    "sphereface": ("sphereface", (), (), 0.1, "0.05 and 0.1, table 5"),
    "l2softmax": ("l2softmax", (), (), 0.1, "0.05 and 0.1, table 5"),
    "center": ("softmax", (), (("center", ()),), 0.1, "0.05 and 0.1, table 5"),
    "ring": ("softmax", (), (("ring", ()),), 0.1, "0.05 and 0.1, table 5"),
}
_INCEPTION = {
    "backbone": "inception_resnet_v1",
    "prewhiten": True,
    "image_size": (160, 160),
    "batch_size": 90,
    "steps": 150_000,
    "learning_rate": 0.1,
    "decay_steps": (60_000, 120_000),
}


def _arcface():
    for name, (head, options) in _MARGINS.items():
        yield Recipe(f"{name}_casia_r50", _ARCFACE, head, options, **CASIA)
        yield Recipe(f"{name}_ms1mv2_r100", _ARCFACE, head, options, backbone="ir_resnet100", **MS1MV2)


def _arcface_table_2():
    for name, (head, added) in _ADDED.items():
        triplet = _TRIPLET in added
        said = "Images of an identity in a batch: ours, 4; the paper does not say. " if triplet else ""
        images = {"images_per_identity": 4} if triplet else {}
        yield Recipe(
            f"{name}_casia_r50",
            f"{_ARCFACE_TABLE_2}{said}{_UNMEASURED}",
            head,
            auxiliary_losses=added,
            **images,
            **CASIA,
        )


def _sphereface():
    for layers in (4, 10, 20, 36, 64):
        yield Recipe(
            f"sphereface_casia_s{layers}",
            _SPHEREFACE,
            "sphereface",
            backbone=f"spherenet{layers}",
            image_size=(112, 96),
            batch_size=128,
            steps=28_000,
            learning_rate=0.1,
            decay_steps=(16_000, 24_000),
            decay_exclude=("bias",),
            flip_features="concatenate",
        )


def _iam():
    for name, (head, options, auxiliary_losses, beta, betas) in _IAM_BASES.items():
        yield Recipe(
            f"iam_{name}_casia_irv1",
            f"{_IAM}iam_beta: {betas}; best on LFW {beta:g}. {_UNMEASURED}",
            head,
            options,
            auxiliary_losses=auxiliary_losses,
            iam_beta=beta,
            **_INCEPTION,
        )


_DEMO = Recipe(
    name="orl_demo",
    source="Ours: `make demo` on the ORL faces; the README carries what it reached.",
    head_options=(("margin", 0.3), ("scale", 16.0)),
    backbone="ir_small",
    backbone_options=(("dropout", 0.2), ("stem_strides", 1)),
    image_size=(56, 48),
    batch_size=32,
    steps=500,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_steps=50,
    weight_decay=1e-2,
    augmentation=Augmentation(flip=True, shift=0.06, zoom=0.08, rotate=8.0, contrast=0.2),
)
_SMALL = Recipe(
    name="arcface_small",
    source="Ours, for a set of one's own: tens to hundreds of people, a few images of each. Not yet measured.",
    head_options=(("margin", 0.3), ("scale", 16.0)),
    backbone="ir_small",
    backbone_options=(("dropout", 0.2),),
    batch_size=32,
    steps=1_000,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_steps=100,
    weight_decay=1e-2,
    augmentation=Augmentation(flip=True, shift=0.06, zoom=0.08, rotate=8.0, contrast=0.2),
)
_CFP = Recipe(
    name="cfp_small",
    source="Ours, for colour crops of hundreds to thousands of people; README: what its first 1,500 updates reached.",
    head_options=(("margin", 0.3), ("scale", 24.0)),
    backbone="ir_small",
    backbone_options=(("dropout", 0.2),),
    image_size=(64, 64),
    batch_size=32,
    steps=6_000,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_steps=200,
    margin_warmup_steps=1_000,
    weight_decay=5e-2,
    augmentation=Augmentation(
        flip=True, shift=0.04, zoom=0.06, rotate=6.0, contrast=0.2, brightness=0.2, saturation=0.2, grey=0.1
    ),
)
_QAM = Recipe(
    name="qamface_ms1m_r50",
    source=_QAMFACE,
    head="qamface",
    batch_size=256,
    steps=400_000,
    learning_rate=0.2,
    decay_steps=(80_000, 200_000, 360_000),
)

ALL = (_DEMO, _SMALL, _CFP, *_arcface(), *_arcface_table_2(), *_sphereface(), _QAM, *_iam())
