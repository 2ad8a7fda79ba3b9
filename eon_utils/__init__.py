"""Eye of Newt: what the notebooks share. The import loads nothing; a name loads what it needs.

The names are listed in `__init__.pyi`; the folders are the wings of the house (see README).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
