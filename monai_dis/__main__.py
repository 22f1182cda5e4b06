"""`python -m monai_dis` is `monai-dis`."""

from monai_dis.cli import main

if __name__ == "__main__":
    main()
