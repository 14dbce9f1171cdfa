"""The `neuro` command, one file a command."""
