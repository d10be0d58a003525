"""Plain values to YAML text, for people to read."""

import yaml

__all__ = ["dump_yaml"]


class _Plain(yaml.SafeDumper):
    """Without anchors: a value that occurs twice is written twice, because our reader refuses aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def dump_yaml(values: object) -> str:
    """Mappings keep their order; a sequence of more than one value becomes one document."""
    return yaml.dump(values, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
