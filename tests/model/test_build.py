"""A network that does not fit into this machine is refused before the system ends the process."""

from __future__ import annotations

import pytest

from alstm_helpers.config import Config
from alstm_helpers.errors import ConfigError
from alstm_helpers.model.build import build_model


def a_config(**sizes):
    return Config.model_validate({"MODEL": {"pooling": "mean", **sizes}})


@pytest.mark.parametrize(
    "sizes", [{"embedding_size": 3, "lstm_size": 5, "fc_sizes": (7, 11), "num_classes": 13}, {"num_classes": 2}]
)
def test_parameters_are_counted_as_they_are_built(sizes):
    config = a_config(**sizes)
    assert config.MODEL.parameters() == sum(parameter.size for parameter in build_model(config).parameters())


def test_parameters_beside_the_attention_are_counted_with_what_the_deviation_adds():
    config = a_config(pooling="attention+deviation", embedding_size=3, lstm_size=5, fc_sizes=(7, 11))
    built = build_model(config).named_parameters()
    assert config.MODEL.parameters() == sum(array.size for name, array in built if not name.startswith("att"))


def test_a_network_larger_than_the_memory(monkeypatch):
    monkeypatch.setattr("alstm_helpers.model.build.total_memory", lambda: 10 * 10**9)
    message = "MODEL: its parameters take 346 GB, and this machine has 10 GB; lower lstm_size"
    with pytest.raises(ConfigError, match=message):
        build_model(a_config(lstm_size=2**16, fc_sizes=(2**16, 2)))
    monkeypatch.setattr("alstm_helpers.model.build.total_memory", lambda: None)
    build_model(a_config(lstm_size=2, fc_sizes=(2, 2)))
