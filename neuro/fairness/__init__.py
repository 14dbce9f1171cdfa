"""Does the prediction hold for everybody, and is it more than age, sex, motion and site?"""
