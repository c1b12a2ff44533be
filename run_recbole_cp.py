"""RecBole's command line with the models of this package: ``python run_recbole_cp.py --model=ClickPrompt ...``"""

import sys

from recbole_clickprompt.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
