"""Files of weights: every tensor and variable is accounted for; damage is one line."""

import struct

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.models import pretrained
from ser_jax.models.pretrained import CTranslate2, Rule

TENSORS = {
    'first/weight': np.arange(6, dtype=np.float16).reshape(2, 3),
    'first/bias': np.array([1, 2], np.float32),
    'scale': np.array(7, np.int8),
}


class Net(nnx.Module):
    def __init__(self):
        self.kernel = nnx.Param(jnp.zeros((3, 2)))
        self.bias = pretrained.Frozen(jnp.zeros(2))


RULES = (
    Rule('kernel', ('first/weight',), np.transpose),
    Rule('bias', ('first/bias',)),
)


def model_bin(tensors, version: int = 6) -> bytes:
    """A file of CTranslate2."""

    def text(x: str) -> bytes:
        return struct.pack('<H', len(x) + 1) + x.encode() + b'\0'

    out = struct.pack('<I', version) + text('WhisperSpec') + struct.pack('<II', 3, len(tensors))
    for name, value in tensors.items():
        out += text(name) + struct.pack('<B', value.ndim)
        out += struct.pack(f'<{value.ndim}I', *value.shape)
        kind = [np.dtype(t) for t in CTranslate2.TYPES].index(value.dtype)
        out += struct.pack('<BI', kind, value.nbytes) + value.tobytes()
    return out + struct.pack('<I', 0)


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'model.bin').write_bytes(model_bin(TENSORS))
    return tmp_path / 'model.bin'


def test_tensors_of_ctranslate2_are_read_as_written(path):
    file = CTranslate2(path)
    assert list(file) == list(TENSORS) and len(file) == 3 and file.specification == 'WhisperSpec'
    for name, value in TENSORS.items():
        assert file[name].dtype == value.dtype
        np.testing.assert_array_equal(file[name], value)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(model_bin(TENSORS)) - 5))
def test_a_cut_file_is_one_line(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp('cut') / 'model.bin'
    path.write_bytes(model_bin(TENSORS)[:cut])
    with pytest.raises(InputError, match=r'(is empty|truncated|can be read).*get it again|version'):
        CTranslate2(path)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 60), value=st.integers(0, 255))
def test_a_changed_header_is_one_line_or_another_content(tmp_path_factory, at, value):
    content = bytearray(model_bin(TENSORS))
    content[at] = value
    path = tmp_path_factory.mktemp('changed') / 'model.bin'
    path.write_bytes(content)
    net = Net()
    try:
        pretrained.load(net, CTranslate2(path), RULES, 'scale', 'f')
    except InputError as e:
        assert '\n' not in str(e) and not np.any(net.kernel[...])


def test_foreign_and_quantized_files_are_named(tmp_path):
    (tmp_path / 'model.bin').write_bytes(b'PK\x03\x04' + bytes(100))
    with pytest.raises(InputError, match=r'version \d+; expected 5 or 6'):
        CTranslate2(tmp_path / 'model.bin')
    small = {'first/weight': np.zeros((2, 3), np.int8)}
    (tmp_path / 'model.bin').write_bytes(model_bin(small))
    with pytest.raises(InputError, match=r'is quantized \(int8\); expected a file of float16'):
        CTranslate2(tmp_path / 'model.bin')['first/weight']


def test_rules_fill_every_variable(path):
    net = nnx.eval_shape(Net)
    assert pretrained.load(net, CTranslate2(path), RULES, 'scale') == 2
    np.testing.assert_array_equal(net.kernel[...], TENSORS['first/weight'].T)
    np.testing.assert_array_equal(net.bias[...], TENSORS['first/bias'])
    assert net.kernel[...].dtype == np.float32


@pytest.mark.parametrize(
    'change, message',
    [
        ({'first/bias': None}, 'the file lacks first/bias'),
        ({'more': np.zeros(1)}, 'holds more and 0 more tensors that the network lacks'),
        ({'first/bias': np.zeros(3)}, r'first/bias has shape \[3\]; bias needs \[2\]'),
        ({'first/weight': np.full((2, 3), np.nan)}, 'first/weight is not finite'),
    ],
)
def test_weights_that_do_not_fit_are_named_and_change_nothing(change, message):
    tensors = {k: v for k, v in (TENSORS | change).items() if v is not None}
    net = Net()
    with pytest.raises(InputError, match=message):
        pretrained.load(net, tensors, RULES, 'scale')
    assert not np.any(net.kernel[...]) and not np.any(net.bias[...])


def test_safetensors_of_half_precision_are_read_and_damage_is_one_line(tmp_path):
    path = tmp_path / 'x.safetensors'
    safetensors.numpy.save_file({'a': np.arange(5, dtype=np.float16)}, path)
    read = pretrained.read_safetensors(path)
    np.testing.assert_array_equal(read['a'], np.arange(5, dtype=np.float32))
    for content in (path.read_bytes()[:-3], path.read_bytes()[:12], b'', b'{}' * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'is damaged or no \.safetensors file'):
            pretrained.read_safetensors(path)
