"""Generators of valid input and networks of known answers, for tests of this project and of those that build on it.

`monai_dis.testing.strategies` needs ``hypothesis``, which comes with the extra ``test``.
"""

from __future__ import annotations
