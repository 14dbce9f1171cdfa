"""`python -m neuro`, and `torchrun -m neuro`: the same as `neuro`."""

from neuro.cli import main

if __name__ == "__main__":
    main()
