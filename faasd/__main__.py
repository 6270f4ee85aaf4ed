"""`python -m faasd` is the command line."""

from faasd.cli.main import main

if __name__ == "__main__":
    main()
