"""Model cards: what a reader of an exported file is told, and what nobody stated."""

from keras_margin.evaluation.model_card import model_card

METADATA = {
    "image": {"name": "image", "dtype": "uint8", "height": 64, "width": 48, "channels": "RGB", "batch": None},
    "embedding": {"name": "embedding", "dtype": "float32", "size": 128, "unit_length": True, "flip_sum": False},
    "length": {"name": "length", "dtype": "float32"},
    "head": {"class": "ArcFaceHead", "num_classes": 1519, "margin": 0.3},
    "recipe": {"name": "mine", "backbone": "ir_small", "steps": 1500, "decay_exclude": ["alpha", "gamma"]},
    "measured": [{"protocol": "unseen people", "eer": 0.25, "rank_1": None}],
    "no_threshold": "No threshold: ten people.",
}


def section(card, title):
    """Returns the lines of a section."""
    return card.split(f"## {title}\n\n")[1].split("\n\n## ")[0]


def test_a_card_begins_with_what_the_file_does():
    """The first sentence tells the size of a photograph and of an embedding, before anything else."""
    first = model_card(METADATA, "face.tflite").split("\n\n")[1]
    assert first.startswith("A network that turns the photograph of a face, 64 x 48 pixels, into 128 numbers.")


def test_what_nobody_stated_is_called_so():
    """Intended use, limits and training data are named as not stated; a limit of the numbers is a paragraph below."""
    card = model_card(METADATA, "face.tflite")
    assert section(card, "Intended use").startswith("Not stated.")
    assert section(card, "Limits").endswith('{"limits": ...}}.\n\nNo threshold: ten people.')
    assert "- data: Not stated. Say it at export, --about=training_data=..." in card


def test_what_somebody_stated_is_on_the_card_once():
    """Training data go to the section on training, anything else that was said to one of its own."""
    about = {"training_data": "2,000 colleagues", "contact": "us"}
    card = model_card(METADATA | {"about": about}, "face.tflite")
    assert "- data: 2,000 colleagues\n" in section(card, "Training")
    assert section(card, "More").startswith("- contact: us") and card.count("2,000 colleagues") == 1


def test_the_training_of_a_card_is_short_and_measured():
    """Of the recipe what tells a reader something, and a table in per cent."""
    training = section(model_card(METADATA, "face.tflite"), "Training")
    assert "- people in training: 1,519" in training and "decay_exclude" not in training
    assert training.endswith("| protocol | eer |\n|---|---|\n| unseen people | 25.00% |")


def test_the_file_is_described_in_words():
    """Its second output too, as `keras-margin inspect` says it."""
    told = section(model_card(METADATA, "face.tflite"), "The file")
    assert "- takes: uint8 RGB 64 x 48, any batch" in told
    assert "- gives as well: float32, the embedding's own length, as a quality" in told
