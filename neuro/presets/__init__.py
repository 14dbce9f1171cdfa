"""Whole recipes for a training by name, as TOML, and how they are read."""

from neuro.presets.preset import DEFAULT_PRESET, Preset, load_preset, preset_names

__all__ = ["DEFAULT_PRESET", "Preset", "load_preset", "preset_names"]
