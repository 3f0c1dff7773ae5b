"""The reference of the configuration in Markdown: `python -m entrepot.config.reference`."""

import sys
from collections.abc import Iterator

from entrepot.config import schema_foreign
from entrepot.config.duration import format_duration
from entrepot.config.fields import Field, Place, ValueType, fields_of, places
from entrepot.config.honoured import NOT_HONOURED
from entrepot.config.loading import DEFAULT_PATHS
from entrepot.config.schema import Config

_INTRODUCTION = """\
# Configuration

<!-- Made by `python -m entrepot.config.reference`; change the schema, not this page. -->

Entrepot reads the `config.yml` and the `REGISTRY_*` variables of `registry:2` and `registry:3`, and
a few keys of its own. `entrepot config check` tries a configuration out, `entrepot config explain`
prints every value and where it comes from (secrets masked), and `entrepot config schema` prints a
JSON Schema for editors.

## The file

The file is the one named on the command line, else by `REGISTRY_CONFIGURATION_PATH`, else the first
of these that exists:

{paths}

Without a file the defaults below hold: blobs in `/var/lib/registry`, port 5000. A file must say
`version: 0.1`. The smallest useful one:

```yaml
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
```

Unlike in `registry:2`, unknown keys, keys given twice and values of the wrong type are errors; all
of them are reported at once, each with its line. `storage: inmemory` and `auth: none` may be
written as bare words.

**Durations** are written as in Go: `30s`, `1h30m`, `168h`. A bare integer is *nanoseconds*, as in
`registry:2`. **Sizes** are bytes.

## Variables

A variable changes one value: `REGISTRY_` and the path of the key in capitals, with `_` between the
steps. `REGISTRY_HTTP_TLS_KEY` is `http.tls.key`. The rules are those of `registry:2`:

- The value is YAML, so a variable may set a whole section or list:
  `REGISTRY_HTTP_HEADERS='{{X-Frame-Options: [deny]}}'`. An empty value is the default.
- Variables are applied in the order of their names, so sections come before what is in them:
  `REGISTRY_STORAGE=filesystem` replaces the whole section, then
  `REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY` sets the directory in it.
- A number is the index of an element of a list, and the first free index appends one:
  `REGISTRY_HTTP_TLS_CLIENTCAS_0=/ca.pem`.
- Names in `http.headers`, `log.fields` and the like are written in lower case, whatever the
  variable has. Names with `_` can't be set this way.
- A few keys have another name in variables, as in `registry:2`:

{renamed}

Unlike in `registry:2`, a variable that names nothing is an error. The variables that Kubernetes and
Docker set for a service called `registry` or `registry-...` (`REGISTRY_PORT=tcp://10.0.0.1:5000`,
`REGISTRY_SERVICE_HOST`, `REGISTRY_PORT_5000_TCP_ADDR`...) are recognised and ignored.
"""


def reference() -> str:
    """The whole page."""
    every = list(places(Config))
    renamed = [p for p in every if p.field.variable != p.field.key.upper()]
    parts = [
        _INTRODUCTION.format(
            paths="\n".join(f"- `{path}`" for path in DEFAULT_PATHS),
            renamed="\n".join(f"  - `{p.path}` is `{p.variable}`" for p in renamed),
        ),
        "## Keys\n",
        "\n".join(_rows(list(fields_of(Config).values()), path="")),
    ]
    ours = [p for p in every if _is_section(p) and not _is_foreign(p)]
    parts += [_section(place) for place in ours]
    parts += [_not_honoured(), *_foreign([p for p in every if _is_section(p) and _is_foreign(p)])]
    return "\n".join(parts).rstrip() + "\n"


def _inner(kind: ValueType) -> ValueType:
    """The type of the elements, for lists and maps however deep."""
    return _inner(kind.element) if kind.kind in ("list", "map") else kind


def _is_section(place: Place) -> bool:
    return _inner(place.field.type).kind == "section"


def _is_foreign(place: Place) -> bool:
    """Whether nothing in the section is honoured."""
    return _inner(place.field.type).struct.__module__ == schema_foreign.__name__


def _section(place: Place) -> str:
    struct = _inner(place.field.type).struct
    path = place.path
    variable = place.variable
    match place.field.type.kind:
        case "list":
            path, variable = f"{path}[0]", f"{variable}_0"
        case "map":
            path, variable = f"{path}.<name>", f"{variable}_<NAME>"
    fields = list(fields_of(struct).values())
    lines = [f"\n### {path}\n", (struct.__doc__ or "").strip()]
    if fields:
        lines += [f"\nVariables: `{variable}_...`\n", *_rows(fields, path=path)]
    return "\n".join(lines)


def _rows(fields: list[Field], *, path: str) -> Iterator[str]:
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for field in fields:
        key = f"{path}.{field.key}" if path else field.key
        text = " ".join([field.description, *_remarks(field, key)])
        yield f"| `{field.key}` | {_type(field.type)} | {_default(field)} | {text} |"


def _remarks(field: Field, key: str) -> Iterator[str]:
    if field.needs:
        yield "Must be given."
    if field.variable != field.key.upper():
        yield f"In variables: `{field.variable}`."
    for row in NOT_HONOURED:
        if row.key == key:
            word = "Refused" if row.effect == "error" else "Not honoured"
            yield f"**{word}:** {row.reason}."


def _type(kind: ValueType) -> str:
    match kind.kind:
        case "choice":
            return ", ".join(f"`{choice}`" if choice else "empty" for choice in kind.choices)
        case "list":
            return f"list of {_type(kind.element)}"
        case "map":
            return f"map to {_type(kind.element)}"
        case "whole":
            return "integer"
        case "flag":
            return "boolean"
        case "size":
            return "bytes"
    return kind.kind


def _default(field: Field) -> str:
    if field.type.kind in ("section", "list", "map") or field.default in (None, ""):
        return ""
    if field.type.kind == "duration":
        return f"`{format_duration(field.default)}`"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def _not_honoured() -> str:
    introduction = (
        "They are recognised, so that a file of `registry:2` or `registry:3` can be kept. At start "
        "each is named with the reason; where starting without it would be unsafe or wrong, "
        "starting is refused. Values that ask for nothing (`false`, `0`, empty, `disabled: true`) "
        "are passed over.\n"
    )
    lines = [
        "\n## Keys that this version doesn't honour\n",
        introduction,
        "| key | | reason |",
        "|---|---|---|",
    ]
    for row in NOT_HONOURED:
        word = "refused" if row.effect == "error" else "no effect"
        if row.harmless_beside:
            word = f"refused without `{row.harmless_beside}`"
        lines.append(f"| `{row.key}` | {word} | {row.reason} |")
    return "\n".join(lines)


def _foreign(sections: list[Place]) -> Iterator[str]:
    yield "\nThe keys that are recognised in them:\n"
    for place in sections:
        fields = fields_of(_inner(place.field.type).struct)
        yield f"- `{place.path}`: " + ", ".join(f"`{key}`" for key in fields)


if __name__ == "__main__":
    sys.stdout.write(reference())
