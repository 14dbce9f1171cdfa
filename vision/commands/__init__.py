"""The `vision` commands, one a file: each reads its options, calls the library, and prints."""
