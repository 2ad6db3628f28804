"""What can be chosen: Hydra's configuration groups. A package, so that an installed copy carries its YAML files."""
