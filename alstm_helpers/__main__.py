"""``python -m alstm_helpers`` is the command ``alstm``."""

from alstm_helpers.cli import main

if __name__ == "__main__":
    main()
