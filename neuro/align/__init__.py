"""Brains and words in one space, by sentences written from the table of people. Exploratory."""
