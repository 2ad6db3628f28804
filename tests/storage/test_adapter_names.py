"""An adapter that names an impossible base ends in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf.errors import ParentError
from rlhf.storage.adapter_folder import base_of


@pytest.mark.parametrize("base", ["9" * 300, "a/" * 3000, "a\0b"])
def test_a_name_that_no_file_can_have(base: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ParentError, match=f"{tmp_path.name}.*{len(base)} characters"):
        base_of(tmp_path)
