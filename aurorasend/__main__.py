"""`python -m aurorasend` is the command `aurorasend`."""

from aurorasend.cli import main

if __name__ == "__main__":
    main()
