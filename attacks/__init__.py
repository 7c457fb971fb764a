"""The attacks of qfl-sec, imported as `qfl_sec.attacks`."""

if __name__ != "qfl_sec.attacks":
    raise ImportError("Import this folder as qfl_sec.attacks: a plain 'import attacks' would load a second copy of every class.")

__all__: list[str] = []
