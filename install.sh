#!/bin/sh
# Installs Lorasmith into .venv beside this file, on Linux and macOS. Options go to install.py.
set -eu
cd "$(dirname "$0")"

for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null 2>&1 &&
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$name" install.py "$@"
    fi
done
echo "Lorasmith needs Python 3.11 or newer, and none was found."
echo "Install one (python.org, your system's packages, or Homebrew), then run this again."
exit 1
