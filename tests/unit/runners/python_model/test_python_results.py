"""What a client's own Python model may bring and return, and what its client reads when it fails."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from runners.api import Fail
from runners.python_model import PythonModelRunner
from runners.python_model.request import InferenceRequest


def failure(predict, source, **options):
    with pytest.raises(Fail) as caught:
        predict(source, **options)
    return caught.value


def packed(directory: Path, members: dict[str, str]) -> Path:
    path = directory / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.mark.system
def test_the_requirements_of_an_archive_are_installed(predict, tmp_path):
    """As in `model.requirements`, with comments; the archive's single folder is the model's directory."""
    members = {
        "project/model.py": "import numpy\nfrom PIL import Image\n"
        "def predict(input): return {'mean': numpy.ones((2, 2)).mean(), 'size': Image.new('L', (3, 4)).size}\n",
        "project/requirements.txt": "# arrays\nnumpy >= 1.20  # any new one\n\n",
    }
    result, _ = predict(packed(tmp_path, members), requirements=["pillow"], timeout=170)
    assert result.results == {"mean": 1.0, "size": [3, 4]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numpy\n-r more.txt\n", "line 2: '-r more.txt' is not a package name"),
        ("git+https://example.com/x\n", "line 1: 'git+https://example.com/x'"),
        ("a\n" * 51, "names 51 packages, and the limit is 50"),
        ("#" * 70_000, "more than 64 KiB"),
    ],
)
def test_a_line_that_is_not_a_requirement_is_named(predict, tmp_path, text, words):
    members = {"model.py": "def predict(input): return 1", "requirements.txt": text}
    error = failure(predict, packed(tmp_path, members))
    assert error.code == "REQUIREMENTS_FAILED"
    assert words in str(error)


def test_attack_the_requirements_of_an_archive_are_a_link(predict, tmp_path):
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as archive:
        text = b"def predict(input): return 1"
        member = tarfile.TarInfo("model.py")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("requirements.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "cannot be unpacked" in str(failure(predict, path))


def test_values_of_numpy_are_returned_as_json(predict):
    body = """
import numpy as np
def predict(input):
    return {
        "mean": np.float32(0.5), "count": np.int64(3), "sure": np.bool_(True), "name": np.str_("cat"),
        "scores": np.array([[1, 2], [3, 4]]), "nested": [{"box": (np.float64(1.5), np.zeros(2))}],
        np.int64(7): np.array(9),
    }
"""
    result, _ = predict(body, requirements=["numpy"], timeout=170)
    assert result.results == {
        "mean": 0.5, "count": 3, "sure": True, "name": "cat", "scores": [[1, 2], [3, 4]],
        "nested": [{"box": [1.5, [0.0, 0.0]]}], "7": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import datetime\ndef predict(input): return {'a': [1, {'when': datetime.datetime(2026, 1, 1)}]}",
         "a datetime.datetime at a[1].when, which JSON does not have; return value.isoformat()"),
        ("def predict(input): return {'labels': {'cat'}}", "a set at labels, which JSON does not have; return sorted(value)"),
        ("def predict(input): return {'scores': [0.5, float('nan')]}", "nan at scores[1], which JSON does not have"),
        ("def predict(input): return {'x': {(1, 2): 3}}", "a dictionary at x with a tuple as a key"),
        ("from decimal import Decimal\ndef predict(input): return Decimal('1.5')", "return float(value)"),
        ("class Box: pass\ndef predict(input): return [Box()]", "a Box at [0], which JSON does not have"),
    ],
)  # fmt: skip
def test_a_value_that_json_does_not_have_is_named_with_its_path(predict, body, words):
    error = failure(predict, body)
    assert error.code == "MODEL_FAILED"
    assert words in str(error)
    assert "Traceback" not in str(error)


def test_a_traceback_has_its_lines_and_only_those_of_the_client(predict):
    body = "def inner(value):\n  return 1 / value\n\ndef predict(input):\n  try:\n    inner(0)\n  except ZeroDivisionError as error:\n    raise ValueError('no share') from error\n"
    error = failure(predict, body)
    lines = str(error).splitlines()
    assert lines[0] == "predict failed: ValueError: no share"
    assert "    return 1 / value" in lines
    assert [line for line in lines if ", line 2, in inner" in line]
    assert "harness" not in str(error)
    deep = failure(predict, "def predict(input, n=0): return predict(input, n + 1)")
    assert len(str(deep).splitlines()) < 100
    assert "RecursionError" in str(deep).splitlines()[0]


@pytest.mark.parametrize(
    ("line", "package"), [("import nowhere.to_find", "nowhere"), ("from PIL import Image", "pillow")]
)
def test_a_missing_module_is_answered_with_the_option_that_installs_it(predict, line, package):
    first = str(failure(predict, f"def predict(input):\n    {line}\n")).splitlines()[0]
    module = line.split()[1].partition(".")[0]
    assert f"No module named '{module}'. Request the package that has it: --requirements {package} " in first


def test_what_a_model_prints_is_in_the_jobs_log(predict):
    body = "import sys\nprint('loading')\ndef predict(input):\n  print('working', 1)\n  print('careful', file=sys.stderr)\n  return 1\n"
    _, context = predict(body)
    assert ("stdout", "loading") in context.lines
    assert ("stdout", "working 1") in context.lines
    assert ("stderr", "careful") in context.lines


def test_the_log_of_a_failed_model_has_its_traceback(predict, tools, device, make_context, tmp_path):
    source = tmp_path / "model.py"
    source.write_text("def predict(input):\n  print('so far')\n  raise ValueError('boom')\n")
    context = make_context({"model.source": source})
    with pytest.raises(Fail):
        PythonModelRunner(tools, device).run(
            InferenceRequest.model_validate({"model": {"entrypoint": "model.py"}}), context
        )
    assert ("stdout", "so far") in context.lines
    assert ("stderr", "predict failed: ValueError: boom") in context.lines
    assert ("stderr", "    raise ValueError('boom')") in context.lines


@pytest.mark.ship
def test_attack_a_flood_of_output_is_bounded(predict):
    """Its beginning and its end reach the log, what is left out is counted, and the model is not slowed down for it."""
    body = "def predict(input):\n  print('first')\n  for n in range(300_000): print('x' * 90)\n  print('last')\n  return 1\n"
    began = time.monotonic()
    _, context = predict(body)
    assert time.monotonic() - began < 120
    assert context.lines[-1] == ("stdout", "last")
    assert any("left out" in line for _, line in context.lines)
    assert sum(len(line) for _, line in context.lines) < 2 * 2**20
