"""The defenses of qfl-sec, imported as `qfl_sec.defenses`."""

if __name__ != "qfl_sec.defenses":
    raise ImportError("Import this folder as qfl_sec.defenses: a plain 'import defenses' would load a second copy of every class.")

__all__: list[str] = []
