"""Run the Ray example of docs/cohorts.md with a bundle and pictures of the tests; in a network of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import ray

page, bundle, output, *studies = sys.argv[1:]
code = re.findall(r"```python\n(.*?)```", Path(page).read_text(encoding="utf-8"), flags=re.DOTALL)[1]
code = code.replace('"fundus_vessels_dis"', repr(bundle)).replace('"out"', repr(output))

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, _node_ip_address="127.0.0.1")
names = {"STUDIES": studies}
exec(compile(code, "docs/cohorts.md", "exec"), names)
Path(output, "records.json").write_text(json.dumps([json.loads(str(line)) for line in names["records"]]))
