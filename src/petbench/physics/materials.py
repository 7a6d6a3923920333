"""Materials a photon or a positron meets: density and linear attenuation at 511 keV."""

from dataclasses import dataclass

from petbench.errors import InputError


@dataclass(frozen=True)
class Material:
    """A material: density in g/cm3 and linear attenuation coefficient at 511 keV per cm."""

    name: str
    density_g_cm3: float
    mu_per_cm: float


MATERIALS = {
    entry.name: entry
    for entry in (
        Material("air", 0.0012, 0.0001),
        Material("water", 1.00, 0.0960),
        Material("lung", 0.26, 0.0247),
        Material("rib_bone", 1.92, 0.1716),
        Material("soft_tissue", 1.04, 0.0960),  # as in PET/MR attenuation maps, which give the head the value of water
        Material("skull", 1.61, 0.1510),
    )
}


def material(name: str) -> Material:
    """Look up a material by name.

    Raises:
        InputError: the material is not in the table.
    """
    if name not in MATERIALS:
        raise InputError(f"material: {name!r} is unknown; choose one of {', '.join(MATERIALS)}.")
    return MATERIALS[name]
