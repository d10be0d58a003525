"""The tree that a list of tenants means: full paths, from a path as name or from `parent`, without cycles."""

from collections.abc import Sequence

from scheduler.config.cursor import Fields, nearest
from scheduler.config.limits import MAX_TENANT_DEPTH
from scheduler.config.values import name, tenant_path

__all__ = ["ordered"]


def ordered(entries: Sequence[Fields], *, part: bool = False) -> list[tuple[str, Fields]]:
    """Full path and fields of each tenant, parents first, else as listed. In a `part` of a tree parents may lack."""
    written = [tenant_path(fields["name"]) for fields in entries]
    parents = [_parent(fields, written) for fields in entries]
    paths = [_path(i, entries, written, parents) for i in range(len(entries))]
    seen: dict[str, Fields] = {}
    for path, fields in zip(paths, entries, strict=True):
        if path in seen:
            line = seen[path].place.node.line
            raise fields["name"].wrong(f"tenant `{path}` is listed twice", f"first on line {line}" if line else "")
        seen[path] = fields
    for path, fields in seen.items():
        above = path.rpartition("/")[0]
        if above and above not in seen and not part:
            raise fields["name"].wrong(f"`{above}`, the parent of `{path}`, is not listed", nearest(above, seen))
    return sorted(seen.items(), key=lambda pair: pair[0].count("/"))


def _parent(fields: Fields, written: Sequence[str]) -> int | None:
    """The number of the entry that `parent` names."""
    cursor = fields.get("parent")
    if cursor is None:
        return None
    name(fields["name"])  # with a parent, the name is one segment
    text = tenant_path(cursor)
    found = [i for i, other in enumerate(written) if other == text]
    if not found:
        raise cursor.wrong(f"no tenant `{text}` is listed", nearest(text, written))
    if len(found) > 1:
        raise cursor.wrong(f"several tenants are written `{text}`", "write the child's `name` as a full path instead")
    return found[0]


def _path(start: int, entries: Sequence[Fields], written: Sequence[str], parents: Sequence[int | None]) -> str:
    chain = [start]
    while (above := parents[chain[-1]]) is not None:
        if above in chain:
            circle = " -> ".join(written[i] for i in [*chain, above])
            raise entries[start]["parent"].wrong(f"tenants form a cycle: {circle}", "give one of them another parent")
        if len(chain) > MAX_TENANT_DEPTH:
            break
        chain.append(above)
    path = "/".join(written[i] for i in reversed(chain))
    if path.count("/") >= MAX_TENANT_DEPTH:
        raise entries[start]["name"].wrong(f"a tenant may lie at most {MAX_TENANT_DEPTH} levels deep")
    return path
