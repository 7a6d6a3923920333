"""Write the manifest of an OpenNeuro data set: `python list_files.py CLONE TAG OUT.tsv`, of its git clone (github.com/OpenNeuroDatasets).

No image is fetched: git-annex names each large file by its size and MD5, and small files are in the clone itself.
"""

import hashlib
import re
import subprocess
import sys

WANTED = re.compile(r"sub-\w+/(anat|pet)/sub-[\w-]+_(T1w|pet)\.(json|nii\.gz)")
ANNEXED = re.compile(r"MD5E-s(\d+)--([0-9a-f]{32})")


def rows(clone, tag):
    """Path, size in bytes and MD5 of T1-weighted and PET images and of their sidecars."""
    names = subprocess.run(["git", "-C", clone, "ls-tree", "-r", "--name-only", tag], capture_output=True, text=True, check=True).stdout
    for name in sorted(filter(WANTED.fullmatch, names.splitlines())):
        content = subprocess.run(["git", "-C", clone, "show", f"{tag}:{name}"], capture_output=True, check=True).stdout
        annexed = ANNEXED.search(content.decode(errors="ignore")) if len(content) < 1000 else None
        yield (name, *annexed.groups()) if annexed else (name, str(len(content)), hashlib.md5(content).hexdigest())


if __name__ == "__main__":
    clone, tag, out = sys.argv[1:]
    with open(out, "w") as file:
        file.write("path\tsize\tmd5\tversion\n")
        file.writelines("\t".join((*row, tag)) + "\n" for row in rows(clone, tag))
