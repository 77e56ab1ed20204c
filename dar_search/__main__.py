"""`python -m dar_search` is the `dar` command."""

from dar_search.cli.main import main

if __name__ == "__main__":
    main()
