"""The reports of qfl-sec, imported as `qfl_sec.reports`."""

if __name__ != "qfl_sec.reports":
    raise ImportError("Import this folder as qfl_sec.reports: a plain 'import reports' would load a second copy of every class.")

__all__: list[str] = []
