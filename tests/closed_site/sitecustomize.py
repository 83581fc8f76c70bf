"""On the path of the servers that tests start: closes the network in them too."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("closed_network", Path(__file__).parent.parent / "closed_network.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
_module.close()
