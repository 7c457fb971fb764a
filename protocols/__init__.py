"""The protocols of qfl-sec, imported as `qfl_sec.protocols`."""

if __name__ != "qfl_sec.protocols":
    raise ImportError(
        "Import this folder as qfl_sec.protocols: a plain 'import protocols' would load a second copy of every class."
    )

__all__: list[str] = []
