"""The sections of a report, each from what was found: reading -> headings, words, tables, figures."""
