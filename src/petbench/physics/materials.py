"""Materials a photon or a positron meets: density, linear attenuation at 511 keV, and their name in GATE."""

from dataclasses import dataclass

from petbench.errors import InputError


@dataclass(frozen=True)
class Material:
    """A material: density in g/cm3, linear attenuation coefficient at 511 keV per cm, and the entry of GATE's table it is made of."""

    name: str
    density_g_cm3: float
    mu_per_cm: float
    gate_name: str


MATERIALS = {
    entry.name: entry
    for entry in (
        Material("air", 0.0012, 0.0001, "Air"),
        Material("water", 1.00, 0.0960, "Water"),
        Material("lung", 0.26, 0.0247, "Lung"),
        Material("rib_bone", 1.92, 0.1716, "RibBone"),
        # attenuation as in PET/MR maps, which give the head the value of water
        Material("soft_tissue", 1.04, 0.0960, "Brain"),
        Material("skull", 1.61, 0.1510, "Skull"),
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
