"""From scores to what may be said of one person: probabilities, sets of labels, and when to say nothing."""
