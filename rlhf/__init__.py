"""What is computed: data, objectives, models, rollouts, rewards, evaluation. Knows neither Hydra nor Lightning."""
