"""The package's thresholds, which every implementation of the cascade shares."""

# Smallest scores behind P-Net and R-Net.
PROPOSAL_SCORE, REFINED_SCORE = 0.6, 0.7
# Largest overlaps, intersection over union: of one level's boxes, of all levels', behind R-Net.
LEVEL_OVERLAP, MERGED_OVERLAP, REFINED_OVERLAP = 0.5, 0.7, 0.7
# Behind O-Net: intersection over the smaller area.
OUTPUT_OVERLAP = 0.7
