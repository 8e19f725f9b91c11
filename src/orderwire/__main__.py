"""`python -m orderwire`: the same as `orderwire`."""

from orderwire.cli import main

if __name__ == "__main__":
    main()
