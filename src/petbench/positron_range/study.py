"""What a study on positron range can be told before anything runs; without torch, as it is asked when the configuration is read."""

from petbench.errors import InputError
from petbench.physics.doses import Block

STRATEGIES = ("none", "svtd", "ddconv")
PENALTIES = ("rdp", "bowsher")
ROWS = (*STRATEGIES, *(f"{strategy}-{penalty}" for strategy in STRATEGIES for penalty in PENALTIES))
"""What a scan is reconstructed with: a strategy of correction, with or without a penalty of roughness."""
# With fewer annihilations than this for a count their own noise would add more than a tenth to that of the counts.
ANNIHILATIONS_A_COUNT = 10
KEYS = ("iterations", "subsets", "psf_mm", "at")


def parted(row: str) -> tuple[str, str | None]:
    """The strategy and the penalty of one of `ROWS`, None for none."""
    strategy, _, penalty = row.partition("-")
    return strategy, penalty or None


def check_penalty(penalty: Block) -> None:
    """Check a block `penalty`: `gamma`, `similar` and `subsets`, and the keys of `petbench.physics.penalised.Penalised`.

    Raises:
        InputError: a key is unknown, or a value out of range.
    """
    from petbench.physics.penalised import Penalised
    from petbench.physics.penalties import check_numbers

    own = dict(penalty)
    check_numbers(own.pop("gamma", 2.0), own.get("epsilon", 1e-3), own.pop("similar", 9))
    own.pop("subsets", None)
    if unknown := sorted(set(own) - set(Penalised.__dataclass_fields__)):
        raise InputError(f"penalty: unknown key {unknown[0]!r}; give gamma, similar, subsets, {', '.join(Penalised.__dataclass_fields__)}.")
    Penalised(**own)


def check_reconstruction(reconstruction: Block) -> list[int]:
    """Check a block `reconstruction` and list the iterations whose images are kept, rising; the last is always among them.

    Args:
        reconstruction: `iterations`; `subsets` (1: EM as in the paper); `psf_mm` (4.4), the resolution that is modelled; `at`, iterations
            whose images are kept.

    Raises:
        InputError: a key is unknown or missing, or an iteration is not among those that are run.
    """
    unknown = sorted(set(reconstruction) - set(KEYS))
    if unknown or "iterations" not in reconstruction:
        found = f"unknown key {unknown[0]!r}" if unknown else "no iterations"
        raise InputError(f"reconstruction: {found}; give {', '.join(KEYS)}.")
    last = int(reconstruction["iterations"])
    at = sorted({*(int(iteration) for iteration in reconstruction.get("at", [])), last})
    if at[0] < 1 or at[-1] > last:
        raise InputError(f"reconstruction/at: iterations run from 1 to {last}; take out the others.")
    return at


def check_study(simulation: Block, reconstruction: Block, positrons: int) -> None:
    """Check a study before anything runs: as many positrons as its counts need, and a usable reconstruction.

    Raises:
        InputError: they are too few, or the reconstruction is not usable.
    """
    if positrons < ANNIHILATIONS_A_COUNT * simulation["counts"]:
        raise InputError(
            f"gate/positrons: {positrons:.3g} for {simulation['counts']:.3g} counts add noise of their own; give at least"
            f" {ANNIHILATIONS_A_COUNT * simulation['counts']:.3g}, or lower simulation/counts."
        )
    check_reconstruction(reconstruction)
