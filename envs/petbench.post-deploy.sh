# Snakemake runs this once in the new environment, in the folder that it was started in: the checkout.
set -eu
test -f Snakefile || { echo "petbench: start snakemake in the checkout's folder, so that its package can be installed" >&2; exit 1; }
python -m pip install --quiet --no-deps --editable .
