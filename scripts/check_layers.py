#!/usr/bin/env python3
"""check_layers.py [ROOT]: which folder may include which (docs/architecture.md). Prints every breach as
file:line and exits 1. Everyone may include the generated headers of the .proto files."""
import os
import re
import sys

MAY = {
    "base": [], "capture": ["base"], "stream": ["base"], "protocol": ["base", "stream"], "dialect": ["base", "protocol", "stream"],
    "identity": ["base"], "policy": ["base"], "mask": ["base", "policy"], "trail": ["base"],
    "control": ["base", "capture", "policy", "mask", "trail"], "cli": ["base", "trail"],
    "daemon": ["base", "capture", "stream", "protocol", "dialect", "identity", "policy", "mask", "trail", "control"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')


def breaches(root):
    for folder in ("userspace", "bpf"):
        for path, _, names in os.walk(os.path.join(root, folder)):
            place = os.path.relpath(path, os.path.join(root, folder)).split(os.sep)[0] if folder == "userspace" else "bpf"
            for name in sorted(names):
                if not name.endswith((".h", ".cc", ".c")):
                    continue
                file = os.path.join(path, name)
                for number, line in enumerate(open(file, encoding="utf-8"), 1):
                    found = INCLUDE.match(line)
                    if not found:
                        continue
                    first = found.group(1).split("/")[0]
                    where = "%s:%d" % (os.path.relpath(file, root), number)
                    if place == "bpf":
                        if first in MAY or (first == "infertrail" and found.group(1) != "infertrail/event.h"):
                            yield "%s: bpf/ may include infertrail/event.h only, not %s" % (where, found.group(1))
                    elif place not in MAY:
                        yield "%s: folder %s is not in the table" % (where, place)
                    elif first in MAY and first != place and first not in MAY[place]:
                        yield "%s: %s/ may not include %s/" % (where, place, first)
                    elif found.group(1) == "infertrail/event.h" and place not in ("capture", "daemon", "control"):
                        yield "%s: %s/ may not include the kernel's event.h" % (where, place)


root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
found = list(breaches(root))
print("\n".join(found) if found else "layers: no breach")
sys.exit(1 if found else 0)
