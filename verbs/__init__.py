"""What each verb does once its configuration is valid: torch and Lightning, no Hydra."""
