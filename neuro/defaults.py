"""Defaults that the command line shows before it imports what they are for."""

EPOCHS = 8  # passes over the training runs
FOLDS, REPEATS, INNER = 5, 3, 3  # by person: of a deal, deals, of each training side
DEMO_SUBJECTS, DEMO_EFFECT = 60, 0.7
PRESETS = ("small", "long", "parcels", "places", "slices", "vit-base", "vit-small")  # files in neuro/presets
EWC_STRENGTH = 1000.0  # of `neuro update`; 1 is Bayes' rule
