"""`examples.py PAGE HEADING…`: runs the first Python example under each heading of a page."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
page = Path(sys.argv[1]).read_text()
for heading in sys.argv[2:]:
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    example = re.search(r"(?ms)^```python\n(.*?)^```$", section)
    assert example is not None, heading
    exec(compile(example[1], heading, "exec"), {"__name__": "__main__"})
