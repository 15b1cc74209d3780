"""From YAML files and overrides to checked, typed settings. Knows no data; only `hydra_adapter` uses private parts of Hydra."""
